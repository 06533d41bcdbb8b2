"""One sequence on a page: a player, its scores frame by frame, and a strip of stills."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

from davis_exp.data.sequences import VideoSequence
from davis_exp.metrics.measures import OVERALL, Measure, columns
from davis_exp.results import overlay
from davis_exp.results.charts import SMALL, Axis, Line, lines
from davis_exp.results.pages.frames import film, spread, still, width_for
from davis_exp.results.pages.markup import Html, data, escape
from davis_exp.results.pages.subject import Subject
from davis_exp.results.table import percent
from davis_exp.utils.parallel import Progress

STRIP = 6
KINDS = ("first", "second", "third")  # of curves and bars, in turn: page.css, charts.STYLE
VIEWS = {  # how a player draws masks: player.js
    "errors": "errors",
    "outlines": "outlines",
    "cutout": "prediction",
    "frame": "frame",
}
KEY = {
    "truth": overlay.TRUTH,
    "prediction": overlay.PREDICTION,
    "false positive": overlay.FALSE_POSITIVE,
    "false negative": overlay.FALSE_NEGATIVE,
}


def anchor(position: int, name: str) -> str:
    """The id of a sequence's part of the page; names may differ in what an id cannot hold, positions tell them apart."""
    return f"clip-{position}-" + re.sub(r"[^\w-]", "_", name)


def toolbar(truth: bool = True) -> Html:
    """What all players of a page show, and what the colours mean; without `truth` there are no errors to show."""
    offered = [value for value in VIEWS if truth or value != "errors"]
    views = "".join(
        f'<label><input type="radio" name="view" value="{value}"{" checked" * (value == offered[0])}>{VIEWS[value]}'
        "</label>"
        for value in offered
    )
    colours = data("colours", {name.replace(" ", "_"): colour for name, colour in KEY.items()})
    return Html(
        f'<div class="toolbar"><fieldset><legend>Show</legend>{views}</fieldset>{key(truth)}</div>'
        f"{colours}<noscript><p>Without scripts the stills show, but the players do not play.</p></noscript>"
    )


def key(truth: bool = True) -> Html:
    """What the colours on frames mean; without `truth` there is but one."""
    said = "".join(
        f'<span><i style="background:rgb{colour}"></i>{escape(name)}</span>'
        for name, colour in KEY.items()
        if truth or name == "prediction"
    )
    return Html(f'<div class="key">{said}</div>')


def clips(
    sequences: Sequence[VideoSequence],
    part: Callable[[VideoSequence, int, str], Html],
    progress: Progress | None,
) -> list[Html]:
    """The parts of a page about sequences, each as `part` makes it of a width and a place (see `clip`)."""
    width, made = width_for(sequences), []
    for position, sequence in enumerate(sequences):
        made.append(part(sequence, width, anchor(position, sequence.name)))
        if progress:
            progress(len(made), len(sequences))
    return made


def clip(
    sequence: VideoSequence,
    subjects: Sequence[Subject],
    width: int,
    *,
    place: str,
    summary: str,
    curves: Sequence[Line],
    order: Sequence[float],
    captions: Sequence[str],
    strip: str,
) -> Html:
    """The part of a page about one sequence.

    Args:
        subjects: whose masks are shown, side by side.
        width: of the pictures, in pixels.
        place: its id, as `anchor` gives it.
        summary: a line below the heading.
        curves: drawn frame by frame, in percent.
        order: of the frames in the strip, lowest first.
        captions: of each frame: what it scored.
        strip: what the strip shows, in words.
    """
    name, shot = sequence.name, film(sequence, subjects, width)
    chosen = spread(order, STRIP)
    content = {
        "pictures": shot.pictures,
        "masks": shot.masks,
        "captions": captions,
        "frames": [frame.rpartition("/")[2] for frame in sequence.frame_ids],
        "names": [subject.name for subject in subjects],
        "clip": name,
    }
    panes = "".join(
        f'<figure><canvas width="{shot.width}" height="{shot.height}" role="img" '
        f'aria-label="{escape(name)}, {escape(subject.name)}"></canvas>'
        + (f"<figcaption>{escape(subject.name)}</figcaption>" if len(subjects) > 1 else "")
        + "</figure>"
        for subject in subjects
    )
    chart = lines(
        curves,
        Axis("frame", 0, max(1, len(sequence) - 1)),
        Axis("percent", 0, 100),
        f"{name}: " + ", ".join(curve.name for curve in curves if curve.name) + " of each frame",
    )
    return Html(
        f'<article id="{place}" data-player="{place}-data">\n<h3>{escape(name)}</h3>\n'
        f'<p class="soft">{escape(summary)}</p>\n'
        f'<div class="stage{" pair" * (len(subjects) > 1)}">\n<div class="player" role="group" '
        f'aria-label="Player of {escape(name)}">\n<div class="panes">{panes}</div>\n'
        f"{_controls(name, len(sequence), chosen[0])}</div>\n"
        f'<div class="chart" data-left="{SMALL.left}" data-right="{SMALL.width - SMALL.right}">{chart}</div>\n'
        f'</div>\n<p class="soft">{escape(strip)}</p>\n<ul class="strip">'
        + "".join(_still(sequence, i, subjects, captions[i]) for i in chosen)
        + f"</ul>\n{data(f'{place}-data', content)}</article>"
    )


def drawn() -> dict[Measure, str]:
    """The measures that are drawn, frame by frame and in percent, and the kind of their curves and bars."""
    rows = (m for m in columns([], OVERALL.protocols[0]) if m.function is not None and m.unit == "%")
    return dict(zip(rows, cycle(KINDS), strict=False))


def caption(values: Mapping[str, float | None]) -> str:
    """Shares of 1 by their names, in words: "J 83.10, F 72.00"."""
    return ", ".join(f"{name} {percent(value)}" for name, value in values.items())


def curve(name: str, values: Sequence[float | None], kind: str) -> Line:
    """Shares of 1 as a curve in percent, over frames."""
    return Line(name, [(i, None if v is None else 100 * v) for i, v in enumerate(values)], kind)


def _controls(name: str, frames: int, first: int) -> str:
    return (
        '<div class="controls"><button type="button" data-do="back" aria-label="Previous frame">◀</button>'
        '<button type="button" data-do="play">Play</button>'
        '<button type="button" data-do="on" aria-label="Next frame">▶</button>'
        f'<input type="range" min="0" max="{frames - 1}" value="{first}" step="1" '
        f'aria-label="Frame of {escape(name)}"><output aria-live="off"></output></div>\n'
    )


def _still(sequence: VideoSequence, i: int, subjects: Sequence[Subject], said: str) -> str:
    frame = sequence.frame_ids[i].rpartition("/")[2]
    pictures = ""
    for subject in subjects:
        picture, width, height = still(sequence, i, subject)
        shown = (
            f"outlines of the truth and of {subject.name}, errors coloured"
            if sequence.labelled
            else f"outline of {subject.name}"
        )
        alt = f"{sequence.name}, frame {frame}: {shown}"
        pictures += f'<img src="{picture}" width="{width}" height="{height}" alt="{escape(alt)}">'
    return (
        f'<li><button type="button" data-frame="{i}" title="Show in the player">{pictures}'
        f"<span>{escape(frame)}: {escape(said)}</span></button></li>"
    )
