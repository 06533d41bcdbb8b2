"""The board on this machine alone: the page, its data as they change, pictures and reports of the runs that it shows."""

import base64
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from davis_exp.results.board.content import content, worth
from davis_exp.results.board.entry import REPORT, Entry, Runs, inside
from davis_exp.results.board.pictures import Pictures
from davis_exp.results.pages.board import board
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

HOST = "127.0.0.1"
EVERY = 3000  # milliseconds from one look of the page to its next
REST = 2.0  # seconds from one look at the folders to the next
LARGEST = 64 * given.MB  # of a report
# A report may hold anything: it gets no way to ask this server for more, or to tell anybody.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)


class Live:
    """What is served: the runs as they stand, looked at again when somebody asks and some time has passed."""

    def __init__(self, runs: Runs, pictures: Pictures, said: str) -> None:
        self.runs, self.pictures, self.said = runs, pictures, said
        self.entries: list[Entry] = []
        self.lock = threading.Lock()
        self.token, self.changes = secrets.token_hex(4), 0
        self.built: tuple[str, bytes] = ("", b"")
        self.importances: dict[str, tuple[str, dict[str, Any]]] = {}
        self.looked = 0.0
        self.looking = threading.Lock()
        self.problem = ""

    def look(self) -> None:
        """Have the folders looked at, in a thread, if that is due."""
        if time.monotonic() - self.looked > REST and self.looking.acquire(blocking=False):
            threading.Thread(target=self._look, name="look", daemon=True).start()

    def _look(self) -> None:
        try:
            for entries in self.runs.look():
                same = len(entries) == len(self.entries) and all(map(_is, entries, self.entries))
                if not same:
                    with self.lock:
                        self.entries, self.changes = entries, self.changes + 1
        finally:
            self.looked = time.monotonic()
            self.looking.release()

    @property
    def version(self) -> str:
        """What tells one state of the data from another."""
        return f'"{self.token}-{self.changes}"'

    def data(self) -> tuple[str, dict[str, Any]]:
        """The version and the content of the page."""
        with self.lock:
            version, entries = self.version, self.entries
        made = content(entries, lambda entry: f"report/{quote(entry.name)}")
        return version, made | {"waiting": self.runs.waiting}

    def json(self) -> tuple[str, bytes]:
        """The version, and its content as JSON, made once for all who ask."""
        if self.built[0] != self.version:
            version, made = self.data()
            self.built = version, json.dumps(made, separators=(",", ":"), allow_nan=False).encode()
        return self.built

    def worth(self, group: str) -> dict[str, Any]:
        """What the swept keys are worth in a group, as the runs now stand."""
        with self.lock:
            version, entries = self.version, self.entries
        if group and group not in {entry.group for entry in entries}:
            raise BadInput("there is no such sweep")
        if self.importances.get(group, ("",))[0] != version:
            self.importances[group] = version, worth(entries, group)
        return self.importances[group][1]

    def entry(self, name: str) -> Entry:
        """A run by its name. Raises BadInput."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise BadInput("there is no such run")


def _is(one: Entry, other: Entry) -> bool:
    return one is other


class Server(ThreadingHTTPServer):
    """Answers this machine's own browsers. Raises OSError for a port that is taken."""

    daemon_threads = True

    def __init__(self, live: Live, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.live = live
        self.names = {f"{host}:{self.server_port}" for host in (HOST, "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away while it was answered is no news."""


class Handler(BaseHTTPRequestHandler):
    """One connection. Nothing in a request is a path: runs are looked up by their names, files are a run's own."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "davis-exp", ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer, or say why not."""
        if self.headers.get("Host") not in self.server.names:  # a page elsewhere whose name leads here
            return self._send(421, "text/plain", b"ask for 127.0.0.1 or localhost")
        url = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        try:
            self._answer(url.path, asked)
        except BadInput as error:
            self._send(404, "text/plain", str(error).encode("utf-8", "replace"))
        return None

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, path: str, asked: dict[str, str]) -> None:
        live = self.server.live
        if path == "/":
            live.look()
            version, made = live.data()
            page = board(made, live.said, version=version, every=EVERY)
            return self._send(200, "text/html", page.encode("utf-8", "backslashreplace"))
        if path == "/favicon.ico":  # browsers ask for one
            return self._send(204, "text/plain", b"")
        if path == "/data.json":
            live.look()
            if self.headers.get("If-None-Match") == live.version:
                return self._send(304, "application/json", b"", ETag=live.version)
            version, body = live.json()
            return self._send(200, "application/json", body, ETag=version)
        if path == "/importance.json":
            return self._send(
                200, "application/json", json.dumps(live.worth(asked.get("group", ""))).encode()
            )
        if path == "/still":
            entry = live.entry(asked.get("run", ""))
            picture = live.pictures.still(entry.folder, asked.get("frame", ""))
            return self._send(200, "image/webp", base64.b64decode(picture.partition(",")[2]))
        if path.startswith("/report/"):
            entry = live.entry(unquote(path.removeprefix("/report/")))
            file = inside(entry.folder / REPORT, entry.folder)
            if file is None:
                raise BadInput("the run has no report")
            report = given.read_bytes(file, LARGEST)
            return self._send(200, "text/html", report, **{"Content-Security-Policy": REPORT_POLICY})
        raise BadInput("there is nothing of that name")

    def _send(self, code: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(code)
        text = kind if kind.startswith("image/") else f"{kind}; charset=utf-8"
        common = {
            "Content-Type": text,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in (common | headers).items():
            if not (code == 304 and name.startswith("Content-")):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants a line for each look of a page."""
