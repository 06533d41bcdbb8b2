"""The page about two runs on the same clips: side by side, frame by frame, what differs most first."""

from collections.abc import Sequence as List
from functools import partial
from typing import Any

from davis_exp.data.sequences import Sequence, with_masks
from davis_exp.results.comparison import Comparison, compare
from davis_exp.results.pages.clip import anchor, clip, clips, curve, toolbar
from davis_exp.results.pages.markup import Column, Html, bar, escape, page, section, signed, table
from davis_exp.results.pages.subject import Subject
from davis_exp.results.table import percent
from davis_exp.utils.parallel import Progress

MEASURES = ("J", "F", "J&F")


def versus(a: Subject, b: Subject, sequences: List[Sequence], *, progress: Progress | None = None) -> str:
    """The whole page as HTML; both subjects are of `sequences`.

    Raises BadInput for frames, masks or results that cannot be read, or scores that cannot be paired.
    """
    found = {measure: compare(a.score, b.score, measure=measure) for measure in MEASURES}
    differences = {name: means[2] for name, means in found["J&F"].sequences.items()}
    ordered = sorted(
        map(with_masks, sequences), key=lambda sequence: -abs(differences.get(sequence.name, 0.0))
    )
    shown = clips(ordered, partial(_clip, a, b), progress)
    title = f"{a.name} and {b.name}"
    better = f"{b.name} is better in {100 * found['J&F'].better:.0f} % of the frames."
    return page(
        title,
        [
            f"<header><h1>{escape(title)}</h1><p>{escape(found['J&F'].sentence(a.name, b.name))}. {escape(better)}</p>"
            '<nav><a href="#scores">Scores</a><a href="#frames">Frame by frame</a></nav></header>',
            section("Scores", _overall(a, b, found), _sequences(a, b, found, ordered), name="scores"),
            section("Frame by frame", toolbar(), *shown, name="frames"),
        ],
        script=["player.js"],
    )


def _overall(a: Subject, b: Subject, found: dict[str, Comparison]) -> Html:
    scores = [own.score["contest"]["segmentation_metric"] for own in (a, b)]
    gap = "-" if None in scores else signed(scores[1] - scores[0])
    rows: list[list[object]] = [["contest", *map(percent, scores), gap, "-"]]
    for measure, own in found.items():
        both = [_mean(subject.score["davis2016"][measure]) for subject in (a, b)]
        low, high = own.interval
        interval = f"{100 * low:+.2f} … {100 * high:+.2f}"
        rows.append([measure, *map(percent, both), signed(own.difference), interval])
    columns: list[Column] = [
        ("measure", "text"),
        (a.name, "named"),
        (b.name, "named"),
        "difference",
        "95 % interval over clips",
    ]
    return table(columns, rows, "In percent")


def _sequences(a: Subject, b: Subject, found: dict[str, Comparison], ordered: List[Sequence]) -> Html:
    rows = []
    for position, sequence in enumerate(ordered):
        if sequence.name not in found["J"].sequences:
            continue
        j, both = found["J"].sequences[sequence.name], found["J&F"].sequences[sequence.name]
        f = found["F"].sequences[sequence.name]
        link = Html(f'<a href="#{anchor(position, sequence.name)}">{escape(sequence.name)}</a>')
        bars = bar(j[0], percent(j[0])), bar(j[1], percent(j[1]), "second")
        rows.append([link, *bars, signed(j[2]), signed(f[2]), signed(both[2])])
    columns: list[Column] = [
        ("sequence", "text"),
        (f"J of {a.name}", "named"),
        (f"J of {b.name}", "named"),
        "difference in J",
        "in F",
        "in J&F",
    ]
    return table(columns, rows, f"{b.name} against {a.name}, the largest difference first")


def _clip(a: Subject, b: Subject, sequence: Sequence, width: int, place: str) -> Html:
    first, second = a.values(sequence.name, "J"), b.values(sequence.name, "J")
    gaps = [(y or 0.0) - (x or 0.0) for x, y in zip(first, second, strict=True)]
    return clip(
        sequence,
        [a, b],
        width,
        place=place,
        summary=f"{b.name} against {a.name}: J {100 * sum(gaps) / len(gaps):+.2f} over {len(sequence)} frames",
        curves=[curve(f"J of {a.name}", first, "first"), curve(f"J of {b.name}", second, "second")],
        order=[-abs(gap) for gap in gaps],
        captions=[
            f"J {percent(x)} and {percent(y)} ({100 * gap:+.2f})"
            for x, y, gap in zip(first, second, gaps, strict=True)
        ],
        strip=f"The frames that differ most, {a.name} above {b.name}; click one to see it in the player.",
    )


def _mean(value: Any) -> float | None:
    return value["mean"] if isinstance(value, dict) else value
