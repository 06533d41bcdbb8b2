"""What people see on a terminal in the place of plain text: tables with colours. Files and pipes get the text."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

Shown = Callable[[], Any]  # makes something that rich can print; called on a terminal only


def shown(make: Shown | None) -> dict[str, Any]:
    """As `extra=` of a log message: what a terminal shows in its place; nothing, where `make` is None."""
    return {"shown": make}


class _Forgiving:
    """A stream whose reader may leave, or whose disk may fill up: from then on what is written goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        # In the place of its descriptor, so that native code, children and Python's own last flush do not fail either.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def unbreakable() -> Iterator[None]:
    """Inside, no result is lost because nobody reads what is printed: closed, full, or left by its reader."""
    for number in (0, 1, 2):  # else a file of ours would be opened as one of these, and be written to
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        _Forgiving(stream if stream is not None else open(os.devnull, "w"))  # noqa: SIM115 (for good)
        for stream in before
    )
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before


class Console(logging.StreamHandler):
    """Log messages on standard output; on a terminal, what they bring along for it (`shown`)."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout  # as it is now: a progress line lets what is printed pass above it
        if not hasattr(record, "shown") or not sys.stdout.isatty():
            super().emit(record)
        elif record.shown is not None:
            from rich.console import Console as Rich

            Rich(file=sys.stdout).print(record.shown())
