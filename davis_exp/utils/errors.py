"""The ways a run is refused. Each prints as one line and ends the program with its own exit code."""

import difflib
import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path


class BadInput(Exception):
    """The user gave something that cannot work; the message says what, where and what to do (exit code 2)."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(first_said(message))


class Incomplete(BadInput):
    """A part of what was given is missing; what there is of it was used, and is kept (exit code 1)."""

    exit_code = 1


class OverBudget(BadInput):
    """The composed model costs more than the budget allows (exit code 3).

    The message is the one-line verdict ("over budget by 18,021,345: …"); `table` is the per-part breakdown,
    `parameters` how many there are, `flops` what a frame costs (None: not counted), `others` what else status.json is to
    say of its cost.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        table: str = "",
        parameters: int | None = None,
        flops: int | None = None,
        **others: float | None,
    ) -> None:
        super().__init__(message)
        self.table = table
        self.parameters = parameters
        self.flops = flops
        self.others = others


class CannotWrite(Exception):
    """The disk or its rights did not let us write; the message says what, where and what is free (exit code 1)."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(first_said(message))


class CannotMeet(Exception):
    """Of processes that were to work together, some have not come; the message says where they were waited for."""

    exit_code = 1


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WRITING = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)
PART = re.compile(
    r"(^|/)\.([^/]+?)\.[0-9a-f]{8}\.part(\.\w+)?(?=/|$)"
)  # utils/written: what will be called \2
HANDED_ON = "Original Traceback (most recent call last):"
SHARED = re.compile(r"shared memory|/dev/shm|killed by signal: Bus error|/torch_\d+_\d+")


def cannot_write(error: BaseException, path: object = None) -> CannotWrite | None:
    """What the user is told of `error` where it, or what it came from, is the disk's; None for any other.

    Libraries hide what the system said in errors of their own; then its text is looked for.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, CannotWrite):
            return seen
        text = str(seen)
        if isinstance(seen, RuntimeError | OSError) and SHARED.search(text):
            return CannotWrite(
                "shared memory (/dev/shm) is too small for what loader processes hand over: set data.workers=0, or make "
                "it larger"
            )
        number = seen.errno if isinstance(seen, OSError) else None
        if number is None and not isinstance(seen, BadInput):
            number = next((n for n in WRITING if os.strerror(n) in text), None)
        if number in WRITING:
            where = PART.sub(r"\1\2", str(path or getattr(seen, "filename", None) or "a file"))
            free = (
                f"; {_free(where)} free there: make room, or choose another place" if number in FULL else ""
            )
            return CannotWrite(f"cannot write {where}: {os.strerror(number).lower()}{free}")
        seen = seen.__cause__ or seen.__context__
    return None


def _free(where: object) -> str:
    """The room on the disk of the nearest folder of `where` that is there, in words."""
    for folder in (Path(str(where)), *Path(str(where)).resolve().parents):
        if folder.is_dir():
            return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB are"
    return "little is"


def quoted(name: object) -> str:
    """An untrusted name for a one-line message: printable, without control characters, not too long."""
    text = ascii(str(name))[1:-1]
    return text if len(text) <= 120 else f"{text[:100]}…{text[-16:]}"


def first_said(message: str) -> str:
    """A message as it was before a loader's process handed it on with its whole traceback around it."""
    if HANDED_ON not in message:
        return message.strip()
    *_, said = re.split(
        r"\n  [^\n]*(?=\n\S)", message.rstrip()
    )  # what follows the last line of the traceback
    return re.sub(r"^\s*[\w.]+(: |$)", "", said).strip()


def brief(error: BaseException) -> str:
    """An error of another library's as a short line."""
    text = " ".join(first_said(str(error)).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}…"


def choices(word: str, options: Iterable[str], prefix: str = "", verb: str = "there are") -> str:
    """The tail of a refusal: "; did you mean 'x'? There are: x, y", or "; there are: x, y"."""
    names = sorted(options)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    listed = ", ".join(names) or "none"
    if not close:
        return f"; {verb}: {listed}"
    return f"; did you mean '{prefix}{close[0]}'? {verb.capitalize()}: {listed}"
