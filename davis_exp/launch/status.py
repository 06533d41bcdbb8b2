"""A run while it works: its folder locked, its state in status.json from the first second."""

import contextlib
import fcntl
import os
import subprocess
import time
import traceback
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from davis_exp.runs import status as stored
from davis_exp.runs.status import STATES, STATUS, update
from davis_exp.runs.status import known as read
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, OverBudget, cannot_write, first_said

ERROR = "error.txt"  # the traceback of a run that failed inside
KEPT_ON_RESUME = (  # by a run that is gone on with
    *("job", "trial", "overrides", "identity", "local", "data", "limit", "attempts", "seconds"),
)

LOCK = ".lock"
READ_ATTEMPTS = 40  # times 50 ms: `held` of another process has it for a moment, longer on a loaded machine

_locks: dict[Path, IO[str]] = {}


def lock(folder: Path) -> None:
    """Keep every other process out of the run in `folder` until `unlock`, or until this process ends.

    Raises BadInput naming the process that holds it.
    """
    folder = folder.resolve()
    if folder in _locks:
        return
    path = folder / LOCK
    if path.exists() and not path.is_file():
        raise BadInput(f"{path} is no file: take it away, or start another run")
    file = path.open("a+")
    for attempt in range(READ_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt < READ_ATTEMPTS - 1:
                time.sleep(0.05)
    else:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise BadInput(
            f"{folder} is in use by another process (pid {owner}); wait until it ends, or start another run"
        )
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _locks[folder] = file


def held(folder: Path) -> bool:
    """Whether a process, perhaps this one, has the run in `folder`."""
    try:
        with given.open_file(folder / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BadInput:  # there is none, or somebody has put something else there
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def turn(file: Path) -> Iterator[None]:
    """One process after the other: waits until no other is in such a block on `file`."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def unlock(folder: Path) -> None:
    """Let others have the run in `folder`; nothing happens where this process does not hold it."""
    file = _locks.pop(folder.resolve(), None)
    if file is not None:
        file.close()


def current(folder: Path) -> dict[str, Any]:
    """As `read`; a run that was killed together with what had started it says "running", which is put right.

    Of one that cannot be read the state is "unreadable", and the error why.
    """
    try:
        record = stored.read(folder)
    except BadInput as error:
        return {"state": stored.UNREADABLE, "error": str(error)}
    if record.get("state") == "running" and not held(folder):
        return record | {"state": "interrupted", "error": "its process is gone"}
    return record


def revision() -> str | None:
    """Git revision of the checkout that this package runs from, "-dirty" if changed; None outside of one."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():  # else git would answer for a project around our site-packages
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


class RunStatus:
    """Context of a run: locks `folder` and keeps its status.json, from "running" to one of `STATES`.

    How the run ends is read from the exception that leaves the block, or from the field `exit_code` where
    none does. Nothing is swallowed; the traceback of what is not the user's fault goes to error.txt. A
    process that was killed leaves "running" behind, and no lock.
    """

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.folder = folder
        self.fields = fields

    def __enter__(self) -> "RunStatus":
        lock(self.folder)
        self.started = time.monotonic()
        before = read(self.folder)  # of the run that is being resumed
        self.before = before.get("seconds") or 0.0
        for stale in (STATUS, ERROR):
            (self.folder / stale).unlink(missing_ok=True)
        started = datetime.now().isoformat(timespec="seconds")
        attempt = before.get("attempts", 0) + 1
        kept = {key: value for key, value in before.items() if key in KEPT_ON_RESUME}
        self.update(
            **kept | {"state": "running", "pid": os.getpid(), "started": started, "attempts": attempt}
        )
        self.update(revision=revision(), **self.fields)
        return self

    def update(self, **fields: Any) -> None:
        """Set `fields` (JSON values) in status.json."""
        update(self.folder, **fields)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = read(self.folder).get("exit_code", 0) if error is None else exit_code(error)
        if isinstance(error, OverBudget) and error.parameters is not None:
            self.update(nparams=error.parameters, nflops=error.flops, **error.others)
        if error is not None and not isinstance(error, BadInput) and code not in (0, 130):
            with contextlib.suppress(OSError):  # the disk may be what is wrong
                (self.folder / ERROR).write_text("".join(traceback.format_exception(error)))
        try:
            self.update(
                state=STATES.get(code, "failed"),
                exit_code=code,
                error=one_line(error) if error is not None and code else None,
                seconds=round(self.before + time.monotonic() - self.started, 3),  # of all attempts
            )
        except OSError:
            if error is None:  # else that is what is to be told
                raise
        finally:
            unlock(self.folder)


def exit_code(error: BaseException) -> int:
    """The exit code that `error` ends the program with: 2 and 3 the user's, 130 Ctrl-C, otherwise 1."""
    if isinstance(error, BadInput):
        return error.exit_code
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit(1)
            return 130
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def one_line(error: BaseException) -> str:
    """`error` as one line: the message of a BadInput as it is, anything else with its type."""
    message = " ".join(first_said(str(error)).split())
    if (full := cannot_write(error)) is not None:
        return str(full)
    if isinstance(error, BadInput):
        return message
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        told = message.partition(" GPU ")[0]
        return (
            f"the GPU's memory is too small ({told}): lower data.batch_size, data.clip_length or data.size, or set "
            "trainer.precision=bf16-mixed; for a test, lower inference.size or inference.window"
        )
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
