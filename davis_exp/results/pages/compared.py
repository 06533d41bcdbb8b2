"""The page about two runs on the same clips: side by side, frame by frame, what differs most first."""

from collections.abc import Sequence
from functools import partial

from davis_exp.data.sequences import VideoSequence, with_masks
from davis_exp.metrics.measures import OVERALL, SELECTED, Measure, columns
from davis_exp.results.comparison import Comparison, compare
from davis_exp.results.pages.clip import anchor, clip, clips, curve, toolbar
from davis_exp.results.pages.markup import Column, Html, bar, escape, page, section, signed, table
from davis_exp.results.pages.subject import Subject
from davis_exp.utils.parallel import Progress


def versus(
    a: Subject, b: Subject, sequences: Sequence[VideoSequence], *, progress: Progress | None = None
) -> str:
    """The whole page as HTML; both subjects are of `sequences`.

    Raises BadInput for frames, masks or results that cannot be read, or scores that cannot be paired.
    """
    measures = columns([a.score, b.score], OVERALL.protocols[0])
    both = [m for m in measures if None not in (m.figure(a.score), m.figure(b.score)) or m is OVERALL]
    found = {measure: compare(a.score, b.score, measure=measure.name) for measure in both}
    differences = {name: means[2] for name, means in found[OVERALL].sequences.items()}
    ordered = sorted(
        map(with_masks, sequences), key=lambda sequence: -abs(differences.get(sequence.name, 0.0))
    )
    shown = clips(ordered, partial(_clip, a, b), progress)
    title = f"{a.name} and {b.name}"
    better = f"{b.name} is better in {100 * found[OVERALL].better:.0f} % of the frames."
    return page(
        title,
        [
            f"<header><h1>{escape(title)}</h1><p>{escape(found[OVERALL].sentence(a.name, b.name))}. {escape(better)}</p>"
            '<nav><a href="#scores">Scores</a><a href="#frames">Frame by frame</a></nav></header>',
            section("Scores", _overall(a, b, found), _sequences(a, b, found, ordered), name="scores"),
            section("Frame by frame", toolbar(), *shown, name="frames"),
        ],
        script=["player.js"],
    )


def _overall(a: Subject, b: Subject, found: dict[Measure, Comparison]) -> Html:
    rows: list[list[object]] = []
    for measure in columns([a.score, b.score]):
        first, second = (measure.figure(subject.score) for subject in (a, b))
        gap, interval = None if first is None or second is None else second - first, "-"
        if own := found.get(measure):
            gap, interval = own.difference, " … ".join(measure.text(end, "+.2f") for end in own.interval)
        rows.append(
            [measure.heading, measure.text(first), measure.text(second), signed(gap, measure), interval]
        )
    titles: list[Column] = [
        ("measure", "text"),
        (a.name, "named"),
        (b.name, "named"),
        "difference",
        "95 % interval over clips",
    ]
    return table(titles, rows, "In percent")


def _sequences(
    a: Subject, b: Subject, found: dict[Measure, Comparison], ordered: Sequence[VideoSequence]
) -> Html:
    rows: list[list[object]] = []
    for position, sequence in enumerate(ordered):
        first, second, _ = found[SELECTED].sequences.get(sequence.name, (None, None, None))
        if first is None or second is None:
            continue
        link = Html(f'<a href="#{anchor(position, sequence.name)}">{escape(sequence.name)}</a>')
        bars = bar(first, SELECTED.text(first)), bar(second, SELECTED.text(second), "second")
        gaps = [signed(own.sequences.get(sequence.name, (None,) * 3)[2], m) for m, own in found.items()]
        rows.append([link, *bars, *gaps])
    names = [measure.name for measure in found]
    titles: list[Column] = [
        ("sequence", "text"),
        *((f"{SELECTED.name} of {subject.name}", "named") for subject in (a, b)),
        f"difference in {names[0]}",
        *(f"in {name}" for name in names[1:]),
    ]
    return table(titles, rows, f"{b.name} against {a.name}, the largest difference first")


def _clip(a: Subject, b: Subject, sequence: VideoSequence, width: int, place: str) -> Html:
    first, second = a.values(sequence.name, SELECTED), b.values(sequence.name, SELECTED)
    name, text = SELECTED.name, SELECTED.text
    gaps = [(y or 0.0) - (x or 0.0) for x, y in zip(first, second, strict=True)]
    return clip(
        sequence,
        [a, b],
        width,
        place=place,
        summary=f"{b.name} against {a.name}: {name} {text(sum(gaps) / len(gaps), '+.2f')} over {len(sequence)} frames",
        curves=[curve(f"{name} of {a.name}", first, "first"), curve(f"{name} of {b.name}", second, "second")],
        order=[-abs(gap) for gap in gaps],
        captions=[
            f"{name} {text(x)} and {text(y)} ({text(gap, '+.2f')})"
            for x, y, gap in zip(first, second, gaps, strict=True)
        ],
        strip=f"The frames that differ most, {a.name} above {b.name}; click one to see it in the player.",
    )
