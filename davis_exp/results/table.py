"""A score as text, for people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from davis_exp.metrics import PROTOCOLS
from davis_exp.utils.terminal import rich_table

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = {"contest": "contest", "davis2016": "DAVIS-2016", "all_frames": "all frames"}


def score_table(score: dict[str, Any], protocols: tuple[str, ...] = PROTOCOLS) -> str:
    """The scores of each sequence and of all, in percent, with the trivial predictions for comparison."""
    statistics = [protocol for protocol in protocols if protocol != "contest"]
    with_t = any(score[protocol]["T"] is not None for protocol in statistics)
    measures = ["J", "F", "J&F", "T"] if with_t else ["J", "F", "J&F"]
    top, head = ["", ""], ["sequence", "frames"]
    if "contest" in protocols:
        top, head = [*top, HEADINGS["contest"]], [*head, "mean IoU"]
    for protocol in statistics:
        top += [HEADINGS[protocol], *[""] * (len(measures) - 1)]
        head += measures

    def cells(name: str, frames: int, scores: dict[str, Any]) -> list[str]:
        row = [name, str(frames)]
        if "contest" in protocols:
            row.append(percent(scores["contest"]["mean_iou"]))
        for protocol in statistics:
            row += [percent(_value(scores[protocol], measure)) for measure in measures]
        return row

    rows = [cells(name, len(own["frames"]), own) for name, own in score["sequences"].items()]
    total = cells("all", sum(len(own["frames"]) for own in score["sequences"].values()), score)
    lines = aligned([top, head, *rows, total])
    rule = "-" * max(map(len, lines))
    notes = [_statistics_line(protocol, score[protocol]) for protocol in statistics]
    if "contest" in protocols:
        trivial = ", ".join(f"{name} {percent(value)}" for name, value in score["baselines"].items())
        excluded = score["contest"]["excluded"]
        notes.insert(0, f"contest: trivial predictions for comparison: {trivial}")
        if excluded:
            notes.insert(0, f"contest: {excluded} frames without any object in truth or prediction left out")
    return "\n".join([*lines[:2], rule, *lines[2:-1], rule, lines[-1], *notes])


def score_rows(score: dict[str, Any]) -> list[dict[str, Any]]:
    """One flat row a sequence and one for all: what a CSV file holds, as fractions."""
    own = {**score["sequences"], "all": score}
    rows = []
    for name, scores in own.items():
        row = {"sequence": name, **scores["contest"]}
        for protocol in PROTOCOLS[1:]:
            for measure, value in scores[protocol].items():
                parts = (
                    {f"{measure}_{key}": part for key, part in value.items()}
                    if isinstance(value, dict)
                    else None
                )
                row |= {f"{protocol}_{key}": part for key, part in (parts or {measure: value}).items()}
        rows.append(row)
    return rows


def aligned(rows: list[list[str]], text: int = 1) -> list[str]:
    """Rows of cells as lines: the first `text` columns to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i >= text else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def percent(value: float | None) -> str:
    """A share as percent with two decimals, or a dash where there is none."""
    return "-" if value is None else f"{100 * value:.2f}"


def _value(scores: dict[str, Any], measure: str) -> float | None:
    return scores[measure]["mean"] if measure in ("J", "F") else scores[measure]


def _statistics_line(protocol: str, scores: dict[str, Any]) -> str:
    parts = [
        f"{measure} mean {percent(own['mean'])} recall {percent(own['recall'])} decay {percent(own['decay'])}"
        for measure, own in ((measure, scores[measure]) for measure in ("J", "F"))
    ]
    return f"{HEADINGS[protocol]}: {'; '.join(parts)}"


def terminal_table(score: Mapping[str, Any]) -> "Table":
    """The content of score.json by sequence, in percent; the contest's score in front."""
    table = rich_table("Score", ["sequence", "frames", "contest", "J", "F", "J&F"])

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
