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

    def open(self, path, width=1280, height=900, dark=False):
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
        self("Page.navigate", url=path.as_uri())
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

    def complaints(self):
        """Errors of any kind, and what was asked for beyond the page itself."""
        told = [
            e for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        ]
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        told += [entry for entry in entries if entry["level"] == "error"]
        urls = [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
        return told + [url[:200] for url in urls if not url.startswith(("file:", "data:"))]

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
