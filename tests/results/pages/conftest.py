"""A browser to look at pages with."""

import json
import os
import shutil
import subprocess

import pytest

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
QUIET += ["--proxy-server=127.0.0.1:9", "--remote-debugging-pipe"]  # whatever asked for something would fail

# What axe's basic rules ask for, as far as pages like ours can break them: a line for each breach.
RULES = """
(() => {
  const said = [];
  const shown = (e) => e.getClientRects().length > 0;
  const all = (selector) => [...document.querySelectorAll(selector)];
  const name = (e) => (e.getAttribute("aria-label") || e.textContent || e.title || "").trim();
  if (!document.documentElement.lang) said.push("no language");
  if (!document.title) said.push("no title");
  if (all("h1").length !== 1) said.push("not one h1");
  if (all("main").length !== 1) said.push("not one main");
  for (const e of all("img")) {
    if (!e.alt) said.push("no alt: " + e.src.slice(0, 30));
    if (!e.naturalWidth) said.push("not loaded: " + e.alt);
  }
  for (const e of all("[role=img], button, a, summary")) if (!name(e)) said.push("no name: " + e.outerHTML.slice(0, 80));
  for (const e of all("input")) if (!(name(e) || e.labels.length)) said.push("no label: " + e.outerHTML);
  let level = 1;
  for (const e of all("h1, h2, h3, h4")) {
    if (e.tagName[1] - level > 1) said.push("heading leaps: " + e.textContent);
    level = Number(e.tagName[1]);
  }
  const ids = all("[id]").map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) said.push("id twice: " + id);
  for (const e of all('a[href^="#"]')) if (!document.getElementById(e.hash.slice(1))) said.push("leads nowhere: " + e);
  const light = (colour) => {
    const parts = colour.match(/[0-9.]+/g).map(Number).slice(0, 3).map((v) => v / 255);
    const linear = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const own = getComputedStyle(e).backgroundColor;
      if (own !== "rgba(0, 0, 0, 0)") return own;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !shown(e) || ["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const [one, other] = [light(e.closest("svg") && e.tagName === "text" ? style.fill : style.color), light(ground(e))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) said.push(`contrast ${contrast.toFixed(2)}: ` + node.textContent.trim().slice(0, 40));
  }
  if (document.documentElement.scrollWidth > innerWidth) said.push("wider than the window");
  for (const text of all("svg text").filter(shown)) {
    const [own, picture] = [text, text.closest("svg")].map((e) => e.getBoundingClientRect());
    if (own.left < picture.left || own.right > picture.right || own.top < picture.top || own.bottom > picture.bottom)
      said.push("cut off: " + text.textContent);
    for (const other of text.closest("svg").querySelectorAll("text.name")) {
      const its = other.getBoundingClientRect();
      const aside = own.left >= its.right || its.left >= own.right;
      if (other !== text && !aside && own.top < its.bottom - 2 && its.top < own.bottom - 2)
        said.push("written over: " + text.textContent);
    }
  }
  return said;
})()
"""


class Browser:
    """Chromium without a window, steered over a pipe; `events` is what the page open in it has told."""

    def __init__(self, program, profile):
        asked, told = os.pipe(), os.pipe()  # it reads commands from file 3 and answers on 4
        script = f'exec "$@" 3</dev/fd/{asked[0]} 4>/dev/fd/{told[1]}'
        self.process = subprocess.Popen(
            ["sh", "-c", script, "sh", program, *QUIET, f"--user-data-dir={profile}"],
            pass_fds=(asked[0], told[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(asked[0])
        os.close(told[1])
        self.input, self.output = os.fdopen(asked[1], "wb", buffering=0), os.fdopen(told[0], "rb")
        self.events, self.number, self.session = [], 0, None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.input.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        text = bytearray()
        while (byte := self.output.read(1)) not in (b"\0", b""):
            text += byte
        assert text, "the browser is gone"
        answer = json.loads(text)
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, page, width=1280, height=900, dark=False):
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()

    def run(self, script):
        """The value of a JavaScript expression, awaited."""
        answer = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script):
        """Waits, ten seconds at most, until a JavaScript expression is true."""
        poll = "for (let i = 0; i < 500; i++) { if (%s) return true; await new Promise(r => setTimeout(r, 20)); }"
        assert self.run(f"(async () => {{ {poll % script} return false; }})()"), script

    def press(self, key, code):
        for kind in ("rawKeyDown", "keyUp"):
            self("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def complaints(self, server="data:"):
        """Errors of any kind, and what was asked for beyond the page itself and the server that it comes from."""
        told = [
            e for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        ]
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        told += [entry for entry in entries if entry["level"] == "error"]
        urls = [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
        return told + [url[:200] for url in urls if not url.startswith(("file:", "data:", server))]

    def close(self):
        self.input.close()
        self.process.terminate()
        self.process.wait(20)
        self.output.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no chromium to look at the page with")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def rules():
    """A script that names each breach of the basic rules of accessibility."""
    return RULES
