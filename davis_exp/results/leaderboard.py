"""Results ranked by the contest's score, or by another measure."""

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from davis_exp.metrics.measures import JUDGED, MEASURES, Measure, columns
from davis_exp.results.artifact import Results
from davis_exp.results.reader import RESULTS
from davis_exp.runs import score as scores
from davis_exp.runs.score import SCORE
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.tables import aligned


@dataclass(frozen=True)
class Entry:
    """One line of the board: a score, or the reason why there is none."""

    name: str
    score: dict[str, Any]
    when: str = ""
    problem: str = ""


def scored_entries(paths: Sequence[Path]) -> list[Entry]:
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
        if JUDGED.figure(entry.score) is not None:
            groups.setdefault(frames, []).append(entry.name)
    if len(groups) < 2:
        return None
    shown = "; ".join(f"{len(frames)} frames: {', '.join(names)}" for frames, names in groups.items())
    return f"the scores are of {len(groups)} different sets of frames ({shown}), so ranks across them mean nothing"


def rows(entries: Iterable[Entry], by: Measure = JUDGED) -> list[dict[str, Any]]:
    """The board: one row an entry, best first; equal scores share a place, entries without one come last."""
    ordered = sorted(entries, key=lambda entry: (*by.rank(by.figure(entry.score)), entry.name))
    places = [by.rank(by.figure(entry.score)) for entry in ordered]
    shown = columns(entry.score for entry in ordered)
    return [
        _row(entry, None if missing else places.index((missing, value)) + 1, shown)
        for entry, (missing, value) in zip(ordered, places, strict=True)
    ]


def headings(board: list[dict[str, Any]]) -> list[str]:
    """Of the columns: all that a row has, but for the problem."""
    return [name for name in (board[0] if board else {}) if name != "problem"]


def as_text(board: list[dict[str, Any]]) -> str:
    """The board as an aligned table."""
    return "\n".join([*aligned([headings(board), *map(cells, board)], text=2), *problems(board)])


def as_markdown(board: list[dict[str, Any]]) -> str:
    """The board as a Markdown table."""
    names = headings(board)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in board:
        lines.append("| " + " | ".join(html.escape(cell).replace("|", "\\|") for cell in cells(row)) + " |")
    lines += [f"\n{html.escape(problem)}" for problem in problems(board)]
    return "\n".join(lines) + "\n"


def _row(entry: Entry, rank: int | None, measures: Iterable[Measure]) -> dict[str, Any]:
    score = entry.score
    return {
        "rank": rank,
        "name": quoted(score.get("model") or entry.name),
        **{measure.heading: measure.figure(score) for measure in measures},
        "parameters": score.get("nparams"),
        "GFLOPs": score["nflops"] / 1e9 if isinstance(score.get("nflops"), int | float) else None,
        "when": quoted(entry.when),
        "who": quoted(score.get("entity") or ""),
        "problem": entry.problem,
    }


def problems(board: list[dict[str, Any]]) -> list[str]:
    """Why entries are invalid, one line each."""
    return [f"invalid: {row['name']}: {row['problem']}" for row in board if row["problem"]]


def cells(row: dict[str, Any]) -> list[str]:
    """A row as text, one cell for each of its `headings`."""
    forms = {measure.heading: measure.text for measure in MEASURES.values()}
    forms |= {"parameters": "{:,}".format, "GFLOPs": "{:.2f}".format}
    texts = {
        name: forms.get(name, str)(value) if value not in (None, "") else "-" for name, value in row.items()
    }
    if row["problem"]:
        texts[JUDGED.heading] = "invalid"
    return [texts[name] for name in headings([row])]


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
