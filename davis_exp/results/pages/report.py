"""The page about one run or results: what it scores, how it looks, how it was trained, what it costs, how to redo it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from davis_exp.data.sequences import VideoSequence, with_masks
from davis_exp.metrics.measures import JUDGED, OVERALL, PROTOCOLS, SELECTED, columns
from davis_exp.metrics.statistics import average
from davis_exp.results.comparison import compare
from davis_exp.results.confidence import foretold
from davis_exp.results.pages.clip import anchor, caption, clip, clips, curve, drawn, toolbar
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
from davis_exp.results.pages.provenance import again, costs, learning_curves
from davis_exp.results.pages.subject import Run, Subject
from davis_exp.results.table import percent
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import Progress


def report(
    subject: Subject,
    sequences: Sequence[VideoSequence],
    *,
    trusted: Mapping[str, float] | None = None,
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
        trusted: the confidence (0 … 1) of frames by their ids.
        others: scores (contents of score.json) to stand beside, by name.
        run: where the results come from: without it there are no learning curves and no config.
        status: what the run's status.json says.
        cost: `Cost.to_dict()` of its model.
        limit: of its parameters.

    Raises BadInput for frames, masks or results that cannot be read.
    """
    others, status, trusted = others or {}, status or {}, trusted or {}
    ordered = sorted(
        map(with_masks, sequences), key=lambda s: OVERALL.figure(subject.score["sequences"][s.name]) or 0.0
    )
    parts: dict[str, Sequence[str]] = {
        "Scores": [_beside(subject, others), *_sentences(subject, others, trusted)],
        "By sequence": [_sequences(subject, ordered, others, trusted)],
        "Frame by frame": [toolbar(), *clips(ordered, partial(_clip, subject, others, trusted), progress)],
        "Learning curves": [learning_curves(run)],
        "Cost": [costs(cost, limit)],
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
    rest = [measure for measure in columns([subject.score, *others.values()]) if measure is not JUDGED]
    for name, score in {subject.name: subject.score, **others}.items():
        this, value = score is subject.score, JUDGED.figure(score)
        named = Html(f'<span class="this">{escape(name)}</span>') if this else name
        cells = [measure.text(measure.figure(score)) for measure in rest]
        parameters = score.get("nparams")
        size = f"{parameters:,}" if isinstance(parameters, int) else "-"
        shown = bar(value, JUDGED.text(value), "first" if this else "second")
        rows.append((value or 0.0, [named, shown, *cells, size]))
    for name, value in (subject.score.get("baselines") or {}).items():
        shown = bar(value, JUDGED.text(value), "rest")
        rows.append((value or 0.0, [f"{name} is foreground", shown, *["-"] * len(rest), "-"]))
    headings = [f"{JUDGED.heading} score", *(measure.heading for measure in rest)]
    titles: list[Column] = [("name", "text"), *headings, "parameters"]
    return table(titles, [row for _, row in sorted(rows, key=lambda row: -row[0])], "In percent, best first")


def _sentences(
    subject: Subject, others: Mapping[str, dict[str, Any]], trusted: Mapping[str, float]
) -> list[str]:
    told = foretold(trusted, subject.score)
    said = [f"<p>{escape(told[0].upper() + told[1:])}.</p>"] if told else []
    for name, score in others.items():
        try:
            outcome = compare(score, subject.score, measure=OVERALL.name).sentence(name, subject.name)
        except BadInput as error:
            outcome = f"{name} cannot be compared: {error}"
        against = f"Against {name}: " if len(others) > 1 else ""  # the outcome may name the one ahead only
        said.append(f"<p>{escape(against + outcome)}.</p>")
    return said


def _sequences(
    subject: Subject,
    ordered: Sequence[VideoSequence],
    others: Mapping[str, dict[str, Any]],
    trusted: Mapping[str, float],
) -> Html:
    rows: list[list[object]] = []
    shown, kinds = columns([subject.score]), drawn()
    for position, sequence in enumerate(ordered):
        own = subject.score["sequences"][sequence.name]
        link = Html(f'<a href="#{anchor(position, sequence.name)}">{escape(sequence.name)}</a>')
        figures = [(measure, measure.figure(own)) for measure in shown]
        cells = [bar(v, m.text(v), kinds[m]) if m in kinds else m.text(v) for m, v in figures]
        lowest = min((v for v in subject.values(sequence.name, SELECTED) if v is not None), default=None)
        against = [_gain(own, score["sequences"].get(sequence.name)) for score in others.values()]
        known = average(trusted[frame] for frame in sequence.frame_ids if frame in trusted)
        rows.append([link, len(sequence), *cells, SELECTED.text(lowest), percent(known), *against])
    headings = [*(measure.heading for measure in shown), f"lowest {SELECTED.name}", "confidence"]
    titles: list[Column] = [("sequence", "text"), "frames", *headings]
    titles += [(f"{OVERALL.name} against {name}", "named") for name in others]
    official = PROTOCOLS[OVERALL.protocols[0]].heading
    said = f"In percent, worst first; measures but {JUDGED.heading} as {official} means them"
    return table(titles, rows, said)


def _gain(own: Mapping[str, Any], other: Mapping[str, Any] | None) -> Html:
    mine, its = OVERALL.figure(own), OVERALL.figure(other or {})
    return signed(None if mine is None or its is None else mine - its, OVERALL)


def _clip(
    subject: Subject,
    others: Mapping[str, dict[str, Any]],
    trusted: Mapping[str, float],
    sequence: VideoSequence,
    width: int,
    place: str,
) -> Html:
    own = subject.score["sequences"][sequence.name]
    curves, means, known = [], {}, {}
    for measure, kind in drawn().items():
        if values := subject.values(sequence.name, measure):
            curves.append(curve(measure.name, values, kind))
            means[measure.name], known[measure.name] = measure.figure(own), values
    certain = [trusted.get(frame) for frame in sequence.frame_ids]
    if any(value is not None for value in certain):
        curves.append(curve("confidence", certain, "other"))
        known["confidence"] = certain
    for name, score in others.items():
        values = SELECTED.of_frames(score["sequences"].get(sequence.name, {}).get("raw", {}))
        if len(values) == len(sequence):
            curves.append(curve(f"{SELECTED.name} of {name}", values, "other"))
    return clip(
        sequence,
        [subject],
        width,
        place=place,
        summary=f"{caption(means)} over {len(sequence)} frames",
        curves=curves,
        order=[1.0 if value is None else value for value in subject.values(sequence.name, OVERALL)],
        captions=[caption({name: values[i] for name, values in known.items()}) for i in range(len(sequence))],
        strip="Its worst frames, neighbours left out; click one to see it above.",
    )
