"""The page about results that no truth is there for: what to look at first, and how it looks."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from davis_exp.data.sequences import VideoSequence
from davis_exp.metrics.statistics import average
from davis_exp.results.pages.clip import anchor, caption, clip, clips, curve, toolbar
from davis_exp.results.pages.header import head, named
from davis_exp.results.pages.markup import Column, Html, bar, escape, folded, page, section, table
from davis_exp.results.pages.provenance import again, costs, learning_curves
from davis_exp.results.pages.subject import Run, Subject
from davis_exp.results.table import percent
from davis_exp.utils.parallel import Progress


def unscored(
    subject: Subject,
    sequences: Sequence[VideoSequence],
    trusted: Mapping[str, float],
    *,
    run: Run | None = None,
    status: Mapping[str, Any] | None = None,
    cost: Mapping[str, Any] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> str:
    """The whole page as HTML, the sequences with the least confidence first.

    Args:
        subject: what the page is about, without a score.
        trusted: the confidence (0 … 1) of each frame by its id.
        run, status, cost, limit: as `report` takes them.

    Raises BadInput for frames, masks or results that cannot be read.
    """
    status = status or {}
    ordered = sorted(sequences, key=lambda s: average(_values(trusted, s)) or 0.0)
    parts: dict[str, Sequence[str]] = {
        "Where to look": [_sequences(ordered, trusted)],
        "Frame by frame": [toolbar(truth=False), *clips(ordered, partial(_clip, subject, trusted), progress)],
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
            *(section(title, *own, name=named(title)) for title, own in parts.items()),
        ],
        script=["player.js"],
    )


def _values(trusted: Mapping[str, float], sequence: VideoSequence) -> list[float]:
    return [trusted[frame] for frame in sequence.frame_ids]


def _sequences(ordered: Sequence[VideoSequence], trusted: Mapping[str, float]) -> Html:
    rows = []
    for position, sequence in enumerate(ordered):
        values = _values(trusted, sequence)
        link = Html(f'<a href="#{anchor(position, sequence.name)}">{escape(sequence.name)}</a>')
        mean = average(values)
        rows.append([link, len(sequence), bar(mean, percent(mean)), percent(min(values, default=None))])
    titles: list[Column] = [("sequence", "text"), "frames", "confidence", "lowest"]
    return table(
        titles,
        rows,
        "There is no truth to score against. Confidence in percent, least first: the J that the model itself expects, less "
        "where a mask disagrees with the one before it, carried along by optical flow",
    )


def _clip(
    subject: Subject, trusted: Mapping[str, float], sequence: VideoSequence, width: int, place: str
) -> Html:
    values = _values(trusted, sequence)
    return clip(
        sequence,
        [subject],
        width,
        place=place,
        summary=f"{caption({'mean confidence': average(values)})} over {len(sequence)} frames",
        curves=[curve("confidence", values, "first")],
        order=values,
        captions=[caption({"confidence": value}) for value in values],
        strip="Its least certain frames, neighbours left out; click one to see it above.",
    )
