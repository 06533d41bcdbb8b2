"""A score as a table for people, and as rows of a CSV file."""

from collections.abc import Iterable, Mapping
from typing import Any

from davis_exp.metrics.measures import PROTOCOLS, columns
from davis_exp.utils.tables import Table, number


def score_table(score: Mapping[str, Any], protocols: Iterable[str] = PROTOCOLS) -> Table:
    """The scores of each sequence and of all, in those of the protocols that it has, with the trivial predictions."""
    shown = {name: columns([score], name) for name in protocols if name in score}
    headings = ["sequence", "frames"]
    for name, measures in shown.items():
        mean = "mean " if PROTOCOLS[name].pooled else ""  # of frames, where the others are means of sequences
        above, *rest = (f"\n{mean}{measure.name}" for measure in measures)
        headings += [PROTOCOLS[name].heading + above, *rest]

    def cells(name: str, frames: int, own: Mapping[str, Any]) -> list[str]:
        figures = ((m, m.figure(own, protocol)) for protocol, measures in shown.items() for m in measures)
        return [name, str(frames), *(measure.text(figure) for measure, figure in figures)]

    numbers = {name: len(own["frames"]) for name, own in score["sequences"].items()}
    return Table(
        "Score",
        headings,
        [cells(name, numbers[name], own) for name, own in score["sequences"].items()],
        cells("all", sum(numbers.values()), score),
        [note for name in shown for note in _notes(score, name)],
    )


def score_rows(score: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One flat row a sequence and one for all: what a CSV file holds, as fractions."""
    rows = []
    for name, scores in {**score["sequences"], "all": score}.items():
        row: dict[str, Any] = {"sequence": name}
        for protocol, how in PROTOCOLS.items():
            for measure, value in scores[protocol].items():
                key = measure if how.pooled else f"{protocol}_{measure}"
                row |= (
                    {f"{key}_{p}": v for p, v in value.items()} if isinstance(value, dict) else {key: value}
                )
        rows.append(row)
    return rows


def percent(value: float | None) -> str:
    """A share as percent with two decimals, or a dash where there is none."""
    return number(None if value is None else 100 * value, ".2f")


def _notes(score: Mapping[str, Any], protocol: str) -> Iterable[str]:
    heading, scores = PROTOCOLS[protocol].heading, score[protocol]
    if excluded := scores.get("excluded"):
        yield f"{heading}: {excluded} frames without any object in truth or prediction left out"
    if PROTOCOLS[protocol].pooled:
        trivial = ", ".join(
            f"{name} {percent(value)}" for name, value in (score.get("baselines") or {}).items()
        )
        yield f"{heading}: trivial predictions for comparison: {trivial}"
        return
    entries = [(measure, measure.entry(score, protocol)) for measure in columns([score], protocol)]
    said = [
        f"{measure.name} mean {measure.text(entry['mean'])} recall {percent(entry['recall'])} "
        f"decay {measure.text(entry['decay'])}"
        for measure, entry in entries
        if isinstance(entry, Mapping)
    ]
    yield f"{heading}: {'; '.join(said)}"
