"""Results ranked by the contest's score."""

import html
from collections.abc import Callable, Iterable
from collections.abc import Sequence as List
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from davis_exp.results.artifact import Results
from davis_exp.results.reader import RESULTS
from davis_exp.results.table import aligned, percent
from davis_exp.runs import score as scores
from davis_exp.runs.score import SCORE
from davis_exp.utils.errors import BadInput, quoted

COLUMNS = ("rank", "name", "contest", "J&F", "parameters", "GFLOPs", "when", "who")


@dataclass(frozen=True)
class Entry:
    """One line of the board: a score, or the reason why there is none."""

    name: str
    score: dict[str, Any]
    when: str = ""
    problem: str = ""

    @property
    def contest(self) -> float | None:
        """The contest's score; None without one."""
        return self.score.get("contest", {}).get("segmentation_metric")


def scored_entries(paths: List[Path]) -> list[Entry]:
    """Entries of score.json files, of the folders that hold one, and of all those below other folders.

    Raises BadInput for a file that is no score, or if there is no score at all.
    """
    entries = []
    for path in paths:
        below = path.is_dir() and not (path / SCORE).is_file()
        for own in sorted(file.parent for file in path.rglob(SCORE)) if below else [path]:
            score = scores.read(own)
            when = score.get("created") or _modified(own / SCORE if own.is_dir() else own)
            entries.append(Entry(_name(own), score, str(when)))
    if not entries:
        places = ", ".join(map(str, paths))
        raise BadInput(
            f"no {SCORE} in or below {places}: write some with davis-exp score --json, or give --private TRUTH"
        )
    return entries


def private_entries(paths: Iterable[Path], score: Callable[[Results], dict[str, Any]]) -> list[Entry]:
    """Entries of submissions (results folders, zips, runs) as `score` scores them, or its reason not to."""
    entries = []
    for path in paths:
        try:
            results = Results.open(path, strict=False)
            scored = score(results)
        except BadInput as error:
            entries.append(Entry(_name(path), {}, problem=str(error).removeprefix(f"{path}: ")))
            continue
        when = str(scored.get("created") or _modified(results.path))
        entries.append(Entry(_name(path), scored, when))
    return entries


def truths(entries: Iterable[Entry]) -> str | None:
    """A line that says so, where entries were scored on different frames: their ranks then mean nothing."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        own = entry.score.get("sequences") or {}
        frames = tuple(frame for name in sorted(own) for frame in own[name].get("frames", ()))
        if entry.contest is not None:
            groups.setdefault(frames, []).append(entry.name)
    if len(groups) < 2:
        return None
    shown = "; ".join(f"{len(frames)} frames: {', '.join(names)}" for frames, names in groups.items())
    return f"the scores are of {len(groups)} different sets of frames ({shown}), so ranks across them mean nothing"


def rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The board: one row an entry, best first; equal scores share a place, entries without one come last."""
    ordered = sorted(entries, key=lambda entry: (entry.contest is None, -(entry.contest or 0), entry.name))
    scores = [entry.contest for entry in ordered if entry.contest is not None]
    return [
        _row(entry, 1 + sum(other > entry.contest for other in scores) if entry.contest is not None else None)
        for entry in ordered
    ]


def as_text(board: list[dict[str, Any]]) -> str:
    """The board as an aligned table."""
    lined = [[name for name in COLUMNS if name != "rank"], *(list(cells(row).values())[1:] for row in board)]
    ranks = ["rank", *(cells(row)["rank"] for row in board)]
    lines = [f"{rank:>4}  {line}" for rank, line in zip(ranks, aligned(lined), strict=True)]
    return "\n".join([*lines, *problems(board)])


def as_markdown(board: list[dict[str, Any]]) -> str:
    """The board as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in board:
        lines.append(
            "| " + " | ".join(html.escape(cell).replace("|", "\\|") for cell in cells(row).values()) + " |"
        )
    lines += [f"\n{html.escape(problem)}" for problem in problems(board)]
    return "\n".join(lines) + "\n"


def _row(entry: Entry, rank: int | None) -> dict[str, Any]:
    score = entry.score
    return {
        "rank": rank,
        "name": quoted(score.get("model") or entry.name),
        "contest": entry.contest,
        "J&F": score.get("davis2016", {}).get("J&F"),
        "parameters": score.get("nparams"),
        "GFLOPs": score["nflops"] / 1e9 if isinstance(score.get("nflops"), int | float) else None,
        "when": quoted(entry.when),
        "who": quoted(score.get("entity") or ""),
        "problem": entry.problem,
    }


def problems(board: list[dict[str, Any]]) -> list[str]:
    """Why entries are invalid, one line each."""
    return [f"invalid: {row['name']}: {row['problem']}" for row in board if row["problem"]]


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row as text, one cell for each of COLUMNS."""
    parameters = row["parameters"]
    return {
        "rank": str(row["rank"] or "-"),
        "name": row["name"],
        "contest": percent(row["contest"]) if not row["problem"] else "invalid",
        "J&F": percent(row["J&F"]),
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else "-",
        "GFLOPs": "-" if row["GFLOPs"] is None else f"{row['GFLOPs']:.2f}",
        "when": row["when"] or "-",
        "who": row["who"] or "-",
    }


def subject(path: Path) -> Path:
    """What a score is of, absolute: the run that holds a score.json or results, a file without its suffix."""
    resolved = path.resolve()
    if resolved.name in (SCORE, RESULTS):
        return resolved.parent
    return resolved.with_suffix("") if resolved.suffix in (".json", ".zip") else resolved


def _name(path: Path) -> str:
    resolved = subject(path)
    return f"{resolved.parent.name}/{resolved.name}" if resolved.parent.name else resolved.name


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).isoformat(sep=" ", timespec="minutes")
