"""A small W&B server on loopback, enough for the real client, the real agent and `wandb sync`. A test tool.

It answers GraphQL by operation (`Graph`), takes file streams and files over HTTP (`Handler`) and keeps everything in
memory for a test to look at:

    with Server() as server:
        os.environ |= server.environment(folder)     # WANDB_BASE_URL, a key, folders of its own
        …                                            # wandb.init(), wandb agent …
    server.run.summary, server.run.exitcode          # the only run; server.runs has them all by id
    server.artifact("davis/contest/net-result")      # its latest version: aliases, metadata, .content("paths.json")

Faults are ordered by the name of a GraphQL operation ("CommitArtifact"), or of a kind of HTTP request: "file_stream",
"upload", "download", or "everything". `server.fail("upload", drop, times=2)` cuts the connection in mid-body twice;
`server.fail("UpsertBucket", 500)` answers so for good. What could not be answered is in `server.unknown`.

Sweeps: the grid's cells in order, each handed out once no run of the agent is left; `random` and `bayes` draw from a
generator of their own, `run_cap` times. `server.preempt(run_id)` hands a run out again with its whole config, as the
real server does with one that was preempted.
"""

import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from wandb_server.graph import Graph
from wandb_server.state import Artifact, Run, Sweep

drop = -1  # a fault: the connection ends in the middle of the request
KEY = "k" * 40


class Server:
    """The state, and the thread that serves it. A context manager."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.blobs: dict[str, bytes] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.used: list[tuple[str, str]] = []  # (run, artifact) of each use_artifact
        self.requests: Counter[str] = Counter()  # by operation or kind
        self.unknown: set[str] = set()
        self.faults: dict[str, list[int]] = {}  # operation or kind → [what, times, after how many]
        self.lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("_Handler", (Handler,), {"state": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._http.shutdown()
        self._http.server_close()

    def environment(self, folder: Path) -> dict[str, str]:
        """What makes a client come here, keep its files in `folder`, retry quickly and leave its extras out."""
        folders = {f"WANDB_{name}_DIR": name.lower() for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT")}
        retries = {
            f"WANDB__{what}_RETRY_WAIT_{end}_SECONDS": "1"
            for what in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
            for end in ("MIN", "MAX")
        }
        extras = {
            f"WANDB__{name}": "true" for name in ("DISABLE_STATS", "DISABLE_MACHINE_INFO", "DISABLE_META")
        }
        return (
            {name: str(folder / sub) for name, sub in folders.items()}
            | retries
            | extras
            | {
                "WANDB_BASE_URL": self.url,
                "WANDB_API_KEY": KEY,
                "WANDB_MODE": "online",
                "WANDB_DIR": str(folder),
                "HOME": str(folder),
                "WANDB_ERROR_REPORTING": "false",
                "WANDB__SAVE_REQUIREMENTS": "false",
                "WANDB_DISABLE_GIT": "true",
                "WANDB_SILENT": "true",
            }
        )

    @property
    def run(self) -> Run:
        """The only run."""
        (run,) = self.runs.values()
        return run

    def artifact(self, name: str) -> Artifact:
        """A version by "entity/project/collection:alias" ("latest" if there is none)."""
        name, _, alias = name.partition(":")
        project, _, collection = name.rpartition("/")
        found = self.find(project, collection, alias or "latest")
        if found is None:
            raise LookupError(f"{name}:{alias}; there are {[a.collection for a in self.committed()]}")
        return found

    def find(self, project: str, collection: str, alias: str) -> Artifact | None:
        versions = [a for a in self.committed() if (a.project, a.collection) == (project, collection)]
        return next((a for a in versions if alias in (*a.aliases, f"v{a.version}")), None)

    def committed(self) -> list[Artifact]:
        return [artifact for artifact in self.artifacts.values() if artifact.state == "COMMITTED"]

    def fail(self, what: str, how: int, times: int = 10**9) -> None:
        """Answer `what` with the status `how`, or `drop` the connection, so often."""
        self.fail_after(what, 0, how, times)

    def fail_after(self, what: str, number: int, how: int, times: int = 10**9) -> None:
        """As `fail`, once `number` requests have gone well."""
        self.faults[what] = [how, times, number]

    def fault(self, what: str) -> int | None:
        """The fault that the next request of this name is to meet."""
        with self.lock:
            self.requests[what] += 1
            ordered = self.faults.get(what) or self.faults.get("everything")
            if not ordered or ordered[1] <= 0:
                return None
            if ordered[2] > 0:
                ordered[2] -= 1
                return None
            ordered[1] -= 1
            return ordered[0]

    def preempt(self, run: str) -> None:
        """Hand `run` out once more, with everything in its config for arguments."""
        sweep = self.sweeps[str(self.runs[run].sweep)]
        sweep.queue.insert(0, (run, self.runs[run].config))


class Handler(BaseHTTPRequestHandler):
    """HTTP: /graphql, file streams, and files by where they were told to go."""

    protocol_version = "HTTP/1.1"
    state: Server

    def do_POST(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts == ["graphql"]:
            self._graphql()
        elif parts[-1] == "file_stream":
            self._file_stream(parts[-2])
        else:
            self._read()
            self._answer(404)

    def do_PUT(self) -> None:
        kind, id, *name = unquote(urlsplit(self.path).path).strip("/").split("/")
        if self._fails("upload"):
            return None
        body = self._read()
        with self.state.lock:
            if kind == "blob" and hashlib.md5(body).hexdigest() != id:
                return self._answer(400)
            if kind == "blob":
                self.state.blobs[id] = body
            elif kind == "manifest":
                self.state.artifacts[id].manifest = body
            else:
                self.state.runs[id].files["/".join(name)] = body
        return self._answer(200)

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if self._fails("download"):
            return
        if parts[0] == "manifest":
            self._answer(200, self.state.artifacts[parts[1]].manifest)
        else:  # /blob/<md5>, /artifactsV2/…/<md5>/<name>
            md5 = parts[1] if parts[0] == "blob" else parts[-2]
            found = self.state.blobs.get(md5)
            self._answer(404 if found is None else 200, found or b"")

    def _graphql(self) -> None:
        body = self._read()
        request = json.loads(body)
        named = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        name = request.get("operationName") or (named[1] if named else "")
        if self._fails(name, body=b""):
            return
        operation = getattr(Graph(self.state), name, None) if name[:1].isupper() else None
        if operation is None:
            self.state.unknown.add(name)
            answer: dict[str, Any] = {"data": None, "errors": [{"message": f"no operation {name!r} here"}]}
        else:
            with self.state.lock:
                answer = {"data": operation(request.get("variables") or {})}
        self._answer(200, json.dumps(answer).encode())

    def _file_stream(self, run: str) -> None:
        body = self._read()
        if self._fails("file_stream", body=b""):
            return
        message = json.loads(body)
        with self.state.lock:
            known = self.state.runs[run]
            for name, chunk in (message.get("files") or {}).items():
                lines = known.streams.setdefault(name, {})
                lines |= dict(enumerate(chunk.get("content") or [], start=chunk.get("offset", 0)))
            if message.get("complete"):
                known.complete, known.exitcode = True, message.get("exitcode")
        self._answer(200, b"{}")

    def _fails(self, what: str, body: bytes | None = None) -> bool:
        """Whether this request has met a fault, which then was its answer."""
        fault = self.state.fault(what)
        if fault == drop:
            self.rfile.read(min(16, int(self.headers.get("Content-Length") or 0))) if body is None else None
            self.close_connection = True
            self.connection.close()
            return True
        if fault is not None:
            if body is None:
                self._read()
            self._answer(fault)
            return True
        return False

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: pytest's output is for pytest."""
