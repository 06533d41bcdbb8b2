"""The page about one run or results: what it scores, how it looks, how it was trained, what it costs, how to redo it."""

from collections.abc import Mapping
from collections.abc import Sequence as List
from functools import partial
from typing import Any

from davis_exp.data.sequences import Sequence, with_masks
from davis_exp.results.comparison import compare
from davis_exp.results.pages.clip import anchor, caption, clip, clips, curve, mean, toolbar
from davis_exp.results.pages.header import head, named, tiles
from davis_exp.results.pages.markup import (
    Column,
    Html,
    bar,
    escape,
    folded,
    page,
    section,
    signed,
    table,
)
from davis_exp.results.pages.provenance import again, cost_table, learning_curves
from davis_exp.results.pages.subject import Run, Subject
from davis_exp.results.table import percent
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import Progress


def report(
    subject: Subject,
    sequences: List[Sequence],
    *,
    others: Mapping[str, dict[str, Any]] | None = None,
    run: Run | None = None,
    status: Mapping[str, Any] | None = None,
    cost: Mapping[str, Any] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> str:
    """The whole page as HTML.

    Args:
        subject: what the page is about, scored on `sequences`.
        others: scores (contents of score.json) to stand beside, by name.
        run: where the results come from: without it there are no learning curves and no config.
        status: what the run's status.json says.
        cost: `Cost.to_dict()` of its model.
        limit: of its parameters.

    Raises BadInput for frames, masks or results that cannot be read.
    """
    others, status = others or {}, status or {}
    ordered = sorted(
        map(with_masks, sequences), key=lambda s: _value(subject.score["sequences"][s.name], "J&F") or 0.0
    )
    parts: dict[str, List[str]] = {
        "Scores": [_beside(subject, others), *_sentences(subject, others)],
        "By sequence": [_sequences(subject, ordered, others)],
        "Frame by frame": [toolbar(), *clips(ordered, partial(_clip, subject, others), progress)],
        "Learning curves": [learning_curves(run)],
        "Cost": [cost_table(cost, limit)],
        "To do it again": again(run, status),
        "Config": [folded("The whole resolved config", run.text)] if run else [],
    }
    parts = {title: own for title, own in parts.items() if any(own)}
    return page(
        f"{subject.name}: report",
        [
            head(subject, sequences, run, status, list(parts)),
            tiles(subject.score, status, limit),
            *(section(title, *own, name=named(title)) for title, own in parts.items()),
        ],
        script=["player.js"],
    )


def _beside(subject: Subject, others: Mapping[str, dict[str, Any]]) -> Html:
    """This one, the others and the predictions that look at no frame, best first."""
    rows: list[tuple[float, list[object]]] = []
    for name, score in {subject.name: subject.score, **others}.items():
        this, value = score is subject.score, score["contest"]["segmentation_metric"]
        named = Html(f'<span class="this">{escape(name)}</span>') if this else name
        cells = [percent(_value(score, measure)) for measure in ("J", "F", "J&F")]
        parameters = score.get("nparams")
        size = f"{parameters:,}" if isinstance(parameters, int) else "-"
        rows.append(
            (value or 0.0, [named, bar(value, percent(value), "first" if this else "second"), *cells, size])
        )
    for name, value in (subject.score.get("baselines") or {}).items():
        rows.append((value or 0.0, [f"{name} is foreground", bar(value, percent(value), "rest"), *["-"] * 4]))
    titles: list[Column] = [("name", "text"), "contest score", "J", "F", "J&F", "parameters"]
    return table(titles, [row for _, row in sorted(rows, key=lambda row: -row[0])], "In percent, best first")


def _sentences(subject: Subject, others: Mapping[str, dict[str, Any]]) -> list[str]:
    said = []
    for name, score in others.items():
        try:
            outcome = compare(score, subject.score, measure="J&F").sentence(name, subject.name)
        except BadInput as error:
            outcome = f"{name} cannot be compared: {error}"
        against = f"Against {name}: " if len(others) > 1 else ""  # the outcome may name the one ahead only
        said.append(f"<p>{escape(against + outcome)}.</p>")
    return said


def _sequences(subject: Subject, ordered: List[Sequence], others: Mapping[str, dict[str, Any]]) -> Html:
    rows = []
    for position, sequence in enumerate(ordered):
        own = subject.score["sequences"][sequence.name]
        link = Html(f'<a href="#{anchor(position, sequence.name)}">{escape(sequence.name)}</a>')
        j, f = _value(own, "J"), _value(own, "F")
        lowest = min((v for v in subject.values(sequence.name, "J") if v is not None), default=None)
        against = [_gain(own, score["sequences"].get(sequence.name)) for score in others.values()]
        bars = [bar(j, percent(j)), bar(f, percent(f), "second")]
        contest = percent(own["contest"]["mean_iou"])
        rows.append(
            [link, len(sequence), *bars, percent(_value(own, "J&F")), contest, percent(lowest), *against]
        )
    titles: list[Column] = [
        ("sequence", "text"),
        "frames",
        "J",
        "F",
        "J&F",
        "contest",
        "lowest J",
    ]
    titles += [(f"J&F against {name}", "named") for name in others]
    return table(titles, rows, "In percent, worst first; J and F as DAVIS-2016 means them")


def _gain(own: Mapping[str, Any], other: Mapping[str, Any] | None) -> object:
    mine, its = _value(own, "J&F"), _value(other, "J&F") if other else None
    if mine is None or its is None:
        return "-"
    return signed(mine - its)


def _clip(
    subject: Subject, others: Mapping[str, dict[str, Any]], sequence: Sequence, width: int, place: str
) -> Html:
    own = subject.score["sequences"][sequence.name]
    j, f = subject.values(sequence.name, "J"), subject.values(sequence.name, "F")
    curves = [curve("J", j, "first"), curve("F", f, "second")]
    for name, score in others.items():
        values = score["sequences"].get(sequence.name, {}).get("raw", {}).get("J")
        if values and len(values) == len(j):
            curves.append(curve(f"J of {name}", values, "other"))
    means = {"J": _value(own, "J"), "F": _value(own, "F")}
    return clip(
        sequence,
        [subject],
        width,
        place=place,
        summary=f"{caption(means)} over {len(sequence)} frames",
        curves=curves,
        order=[mean(*pair) for pair in zip(j, f, strict=True)],
        captions=[caption({"J": a, "F": b}) for a, b in zip(j, f, strict=True)],
        strip="Its worst frames, neighbours left out; click one to see it above.",
    )


def _value(scores: Mapping[str, Any], measure: str) -> float | None:
    own = scores["davis2016"][measure]
    return own["mean"] if measure in ("J", "F") else own
