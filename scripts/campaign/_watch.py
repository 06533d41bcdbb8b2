"""What no given file may cause, seen by an audit hook."""

import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
ALWAYS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.startfile",
    "pty.spawn",
    "urllib.Request",
)
SOCKETS = ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto")
CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.rmtree",
)


def watch(report: int, scratch: Path, inside: Callable[[], bool] = lambda: True) -> None:
    """From now on, write to the file descriptor `report` a line for whatever no given file may ask for.

    That is: code from `scratch` executed, a process started, a connection made, a file outside of `scratch`, the
    installation and the system's own opened, or anything outside of `scratch` changed. There is no way back: for a
    process that ends after it.
    """
    own = [
        sys.prefix,
        sys.base_prefix,
        str(REPO),
        sysconfig.get_paths()["stdlib"],
        "/usr",
        "/lib",
        "/proc",
        "/sys",
    ]
    own += [
        "/dev",
        "/etc/ld.so",
        "/etc/localtime",
        "/etc/mime.types",
        "/etc/os-release",
        "/run/systemd",
        "/opt",
    ]
    own += [os.environ.get("DAVIS_EXP_CACHE", str(scratch))]
    home = [
        os.path.expanduser(f"~/{name}") for name in (".cache", ".config", ".netrc", ".local", ".mime.types")
    ]
    readable = tuple(os.path.realpath(path) for path in own if path) + tuple(home)
    room, git = os.path.realpath(scratch), "git"
    busy = False

    def place(path: Any) -> str:
        return os.path.realpath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""

    def said(event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == "exec":
            file = getattr(arguments[0], "co_filename", "")
            return f"execute {file}" if place(file).startswith(room) and not file.startswith("<") else None
        if event in ALWAYS:
            command = arguments[1] if event == "subprocess.Popen" and len(arguments) > 1 else arguments[0]
            first = command[0] if isinstance(command, list | tuple) and command else command
            return None if os.path.basename(str(first)) == git else f"{event} {command!r:.100}"
        if event in SOCKETS:
            family = getattr(arguments[0], "family", None)
            return None if family == 1 else f"{event} {arguments[1:]!r:.100}"  # AF_UNIX: loader workers
        if event == "open":
            path = place(arguments[0])
            if not path or isinstance(arguments[0], int) or path.startswith((room, *readable)):
                return None
            return f"open {path}"
        if event in CHANGES:
            path = place(arguments[0])
            allowed = path.startswith((room, *home, *own[-1:])) or "__pycache__" in path
            return None if not path or allowed else f"{event} {path}"
        return None

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy or not inside():
            return
        busy = True
        try:
            line = said(event, arguments)
            if line is not None:
                os.write(report, line.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n")
        except Exception as error:
            os.write(report, f"the watch itself failed at {event}: {error!r}\n".encode())
        finally:
            busy = False

    sys.addaudithook(hook)
