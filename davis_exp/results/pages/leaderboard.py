"""The leaderboard as a page of its own."""

from typing import Any

from davis_exp.results.leaderboard import cells, headings, problems
from davis_exp.results.pages.markup import escape, page, table


def as_html(board: list[dict[str, Any]], title: str = "Leaderboard") -> str:
    """The board as a page of its own."""
    columns = [(name, "text" if name in ("name", "who") else "") for name in headings(board)]
    board_table = table(columns, [cells(row) for row in board])
    lines = [f"<p>{escape(problem)}</p>" for problem in problems(board)]
    return page(title, [f"<h1>{escape(title)}</h1>", board_table, *lines])
