"""What people see on a terminal in the place of plain text: tables with colours. Files and pipes get the text."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.table import Table

GROUPS = ("experiment", "encoder", "flow", "temporal", "decoder", "loss", "optimizer", "scheduler", "data")
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


def composition(choices: Mapping[str, str]) -> str:
    """What a run is composed of, in a line; "" where that is not known."""
    told = {group: choices.get(group, "None") for group in GROUPS}
    return ", ".join(f"{group} {option}" for group, option in told.items() if option not in ("None", "none"))


def cost_table(cost: Mapping[str, Any], choices: Mapping[str, str], limit: int | None) -> "Table":
    """The parts of a model (`Cost.to_dict()`), the options that they come from, and what is left of the budget."""
    height, width = cost["size"]
    columns = ["part", "option", "parameters", "share", f"GFLOPs at {height} x {width}"]
    table = _table("Composition", columns, text=2)
    total = cost["parameters"]
    for part in cost["parts"]:
        table.add_row(part["name"], choices.get(part["name"], ""), *_numbers(part, total))
    table.add_section()
    table.add_row("total", "", *_numbers(cost, total), style="bold")
    notes = [f"{group} {choices[group]}" for group in ("loss", "optimizer", "data") if choices.get(group)]
    if limit:
        notes.append(f"{100 * total / limit:.0f} % of the budget of {limit:,}")
    table.caption = ", ".join(notes)
    return table


def score_table(score: Mapping[str, Any]) -> "Table":
    """The content of score.json by sequence, in percent; the contest's score in front."""
    from davis_exp.results.table import percent

    table = _table("Score", ["sequence", "frames", "contest", "J", "F", "J&F"])

    def cells(own: Mapping[str, Any]) -> list[str]:
        davis = own["davis2016"]
        values = [own["contest"]["mean_iou"], davis["J"]["mean"], davis["F"]["mean"], davis["J&F"]]
        return [percent(value) for value in values]

    for name, own in score["sequences"].items():
        table.add_row(name, str(len(own["frames"])), *cells(own))
    table.add_section()
    frames = sum(len(own["frames"]) for own in score["sequences"].values())
    table.add_row("all", str(frames), *cells(score), style="bold")
    trivial = ", ".join(f"{name} {percent(value)}" for name, value in score["baselines"].items())
    table.caption = f"contest score of trivial predictions: {trivial}"
    return table


def _table(title: str, columns: list[str], text: int = 1) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < text else "right")
    return table


def _numbers(part: Mapping[str, Any], total: int) -> list[str]:
    share = f"{100 * part['parameters'] / total:.0f} %" if total else "-"
    flops = "-" if part["flops"] is None else f"{part['flops'] / 1e9:,.2f}"
    return [f"{part['parameters']:,}", share, flops]
