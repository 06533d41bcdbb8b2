"""A sweep's jobs side by side: rows for a table, a CSV file and a page, ordered by what the held-out clips score."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from davis_exp.metrics.measures import HOLDOUT, SELECTED, Measure, columns
from davis_exp.results.output import write_csv
from davis_exp.results.table import percent
from davis_exp.runs import score as scores
from davis_exp.utils.errors import BadInput
from davis_exp.utils.tables import aligned, number

ANSWERED_STATES = ("finished", "over_budget", "pruned")
WAITING = ("queued", "running")
REPEATS = ("seed", "data.fold", "data.holdout_seed")  # what makes of a job the same one again
NOT_FOR_SELECTION = " (not for selection)"


@dataclass(frozen=True)
class Row:
    """One job: what sets it apart from the others (override → value), what it cost, and how it went."""

    job: str
    folder: Path
    state: str
    choices: dict[str, str]
    objective: float | None = None  # HOLDOUT, of a job that has finished
    parameters: int | None = None
    flops: int | None = None
    seconds: float | None = None
    attempts: int | None = None
    scores: dict[str, float | None] = field(default_factory=dict)  # of its test, by heading
    texts: dict[str, str] = field(default_factory=dict)  # the same as people read them
    error: str = ""
    limit: int | None = None
    local: Sequence[str] = ()  # what of its config is this machine's own

    @property
    def failed(self) -> bool:
        """Whether the job has no answer; being over budget is one, and being given up by a search."""
        return self.state not in ANSWERED_STATES

    @property
    def name(self) -> str:
        """What sets it apart, in one line."""
        return _named(self.choices) or f"job {self.job}"


@dataclass(frozen=True)
class Group:
    """Finished jobs that differ in nothing but seed or fold: mean and standard deviation of their objective.

    `gain` is what they have over the sweep's first choices, repeat by repeat: it deviates less than the objective
    itself where seeds or folds are hard or easy for all. None for the first choices, and without a repeat in common.
    """

    choices: dict[str, str]
    mean: float
    deviation: float | None  # of a sample; None for a single job
    number: int
    gain: tuple[float, float | None, int] | None = None  # mean, deviation, repeats in common

    @property
    def name(self) -> str:
        """What sets them apart, in one line."""
        return _named(self.choices) or "all"


def rows(jobs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[Row]:
    """The jobs, each a folder and what its status.json says: by objective, those without one last."""
    choices = _varied([record.get("overrides") or [] for _, record in jobs])
    made = [_row(folder, record, own) for (folder, record), own in zip(jobs, choices, strict=True)]
    return sorted(made, key=lambda row: -math.inf if row.objective is None else row.objective, reverse=True)


def groups(rows: Sequence[Row]) -> list[Group]:
    """The finished jobs with their seeds and folds aggregated, the best mean first; [] unless those vary."""
    if not any(key in row.choices for row in rows for key in REPEATS):
        return []
    found: dict[tuple[tuple[str, str], ...], dict[tuple[str, ...], float]] = {}  # choices → repeat → J
    for row in sorted(rows, key=lambda row: (len(row.job), row.job)):
        others = tuple((key, value) for key, value in row.choices.items() if key not in REPEATS)
        own = found.setdefault(others, {})
        if row.objective is not None:
            own[tuple(row.choices.get(key, "") for key in REPEATS)] = row.objective
    first = next(iter(found.values()))
    made = []
    for choices, own in found.items():
        gains = [] if own is first else [own[key] - first[key] for key in own.keys() & first.keys()]
        if own:
            gain = (*_spread(gains), len(gains)) if gains else None
            made.append(Group(dict(choices), *_spread(list(own.values())), len(own), gain))
    return sorted(made, key=lambda group: -group.mean)


def _named(choices: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in choices.items())


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def front(rows: Sequence[Row]) -> list[Row]:
    """The finished jobs that no other matches in score with as few parameters, fewest first."""
    best = -math.inf
    kept = []
    known = [row for row in rows if row.objective is not None and row.parameters is not None]
    for row in sorted(known, key=lambda row: (row.parameters or 0, -(row.objective or 0.0))):
        if row.objective is not None and row.objective > best:
            kept.append(row)
            best = row.objective
    return kept


def write_table(sweep: Path, rows: Sequence[Row]) -> None:
    """Writes summary.csv into the folder `sweep`. Raises BadInput if it cannot be written."""
    write_csv(sweep / "summary.csv", [_cells(row) for row in rows])


def as_text(rows: Sequence[Row]) -> str:
    """The table for the screen, and a line for each job that failed."""
    keys = list(dict.fromkeys(key for row in rows for key in row.choices))
    lines = [["job", *keys, "state", HOLDOUT, "parameters", "seconds"]]
    for row in rows:
        own = [row.job, *(row.choices.get(key, "") for key in keys), row.state, percent(row.objective)]
        lines.append([*own, number(row.parameters), number(row.seconds, ".0f")])
    text = aligned(lines, text=len(keys) + 2)
    text += [f"job {row.job}: {row.error or row.state}" for row in rows if row.failed]
    for group in groups(rows):
        if group.deviation is not None:
            spread = f"{percent(group.mean)} ± {percent(group.deviation)}"
            gain = f", against the first choices {gained(group)}" if group.gain else ""
            text.append(f"{group.name}: {HOLDOUT} {spread} over {group.number} trainings{gain}")
    return "\n".join(text)


def gained(group: Group) -> str:
    """Its gain in percent, with a sign; "" where there is none."""
    if group.gain is None:
        return ""
    mean, deviation, number = group.gain
    spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
    common = "" if number == group.number else f" (by {number} in common)"
    return f"{100 * mean:+.2f}{spread}{common}"


def headings(rows: Sequence[Row]) -> list[str]:
    """The headings of the test scores that any of the rows has."""
    return list(dict.fromkeys(heading for row in rows for heading in row.scores))


def _cells(row: Row) -> dict[str, Any]:
    return {
        "job": row.job,
        **row.choices,
        "state": row.state,
        f"holdout_{SELECTED.name}": row.objective,
        "parameters": row.parameters,
        "flops": row.flops,
        **row.scores,
        "seconds": row.seconds,
        "attempts": row.attempts,
        "error": row.error,
        "folder": row.folder.name,
    }


def _varied(overrides: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """For each job its overrides that not all jobs have, as key → value; every job has the same keys."""
    common = set(overrides[0]).intersection(*overrides[1:]) if len(overrides) > 1 else set()
    own = [dict(o.partition("=")[::2] for o in job if o not in common) for job in overrides]
    keys = list(dict.fromkeys(key for job in own for key in job))
    return [{key: job.get(key, "") for key in keys} for job in own]


def _row(folder: Path, record: Mapping[str, Any], choices: dict[str, str]) -> Row:
    state = str(record.get("state"))
    objective = record.get("objective") if state == "finished" else None
    score, shown = _score(folder, record) if state == "finished" else ({}, {})
    finite = isinstance(objective, int | float) and math.isfinite(objective)
    return Row(
        job=str(record.get("job", folder.name)),
        folder=folder,
        state=state,
        choices=choices,
        objective=float(objective) if finite and objective is not None else None,
        parameters=record.get("nparams"),
        flops=record.get("nflops"),
        seconds=record.get("seconds"),
        attempts=record.get("attempts"),
        scores={heading: measure.figure(score) for heading, measure in shown.items()},
        texts={heading: measure.text(measure.figure(score)) for heading, measure in shown.items()},
        error=str(record.get("error") or ""),
        limit=record.get("limit"),
        local=record.get("local") or (),
    )


def _score(folder: Path, record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Measure]]:
    """What its test scored, and the measures of it by heading; nothing where there is no score."""
    try:
        score = scores.read(folder)
    except BadInput:
        return {}, {}
    split = record.get("test_split") or "test"
    note = "" if split == "holdout" else NOT_FOR_SELECTION
    return score, {f"{split} {measure.heading}{note}": measure for measure in columns([score])}
