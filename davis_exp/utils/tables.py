"""Tables of text: made once, shown as plain text in a pipe and with rules and colours on a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings, and a total below them. `str` makes plain text of it."""

    title: str  # as a terminal shows it
    columns: Sequence[str]  # headings; "above\nbelow" stands in two lines, and goes on with "\nbelow"
    rows: Sequence[Sequence[str]]
    total: Sequence[str]
    notes: Sequence[str] = ()  # lines below the table
    words: int = 1  # how many columns, the first ones, hold words; the others hold numbers

    def __str__(self) -> str:
        above, _, below = zip(*(heading.rpartition("\n") for heading in self.columns), strict=True)
        head = [above, below] if any(above) else [below]
        lines = aligned([*head, *self.rows, self.total], self.words)
        if any(above):  # two lines of headings are told from the rows by a rule
            rule = "-" * max(map(len, lines))
            lines = [*lines[:2], rule, *lines[2:-1], rule, lines[-1]]
        return "\n".join([*lines, *self.notes])

    def rich(self) -> "RichTable":
        """For a terminal."""
        from rich import box
        from rich.markup import escape  # names come from strangers
        from rich.table import Table as RichTable

        table = RichTable(title=self.title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="left" if i < self.words else "right")
        for row in self.rows:
            table.add_row(*map(escape, row))
        table.add_section()
        table.add_row(*map(escape, self.total), style="bold")
        table.caption = escape("\n".join(self.notes))
        return table


def number(value: float | None, form: str = ",") -> str:
    """A number as people read it, or a dash where there is none."""
    return "-" if value is None else f"{value:{form}}"


def giga(value: float | None) -> str:
    """FLOPs in billions."""
    return number(None if value is None else value / 1e9, ",.2f")


def aligned(rows: Sequence[Sequence[str]], text: int = 1) -> list[str]:
    """Rows of cells as lines: the first `text` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i >= text else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
