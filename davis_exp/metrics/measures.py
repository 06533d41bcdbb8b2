"""The one table of measures: what scores, shows, ranks or compares results goes through it row by row.

A new measure is a function of two masks and its row, `MEASURES["X"] = Measure("X", …)`: here, or in a module of your own
that DAVIS_EXP_MEASURES names (several: by commas).
"""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from davis_exp.metrics.band import band_iou
from davis_exp.metrics.bits import Bits
from davis_exp.metrics.boundary import contour_f
from davis_exp.metrics.jaccard import iou, jaccard
from davis_exp.metrics.stability import SCALE, mask_instability
from davis_exp.metrics.statistics import average
from davis_exp.utils.errors import BadInput, brief

OWN = "DAVIS_EXP_MEASURES"  # of the environment: jobs, and commands that only read scores, have them too
Raw = Mapping[str, Sequence[float | None]]  # a sequence's values by `Measure.key`, one for each frame
Scores = Mapping[str, Any]  # a score.json, or the part of it about one sequence


@dataclass(frozen=True)
class Protocol:
    """A way to turn the frames of sequences into a score."""

    heading: str  # as tables name it
    drops_ends: bool = False  # the first and the last frame of each sequence do not count
    pooled: bool = False  # the mean is over all frames together, not over sequences


PROTOCOLS = {  # what the judge computes; the official evaluation; the same as most unsupervised papers' code has it
    "contest": Protocol("contest", pooled=True),
    "davis2016": Protocol("DAVIS-2016", drops_ends=True),
    "all_frames": Protocol("all frames"),
}


@dataclass(frozen=True)
class Measure:
    """A row of the table.

    The function gives the value of a frame from its predicted and its true mask; with `pairs`, from its predicted mask and
    the next frame's. Raises ValueError if their sizes differ. Without a function it is the mean of its `parts`.
    """

    name: str  # in options, tables and files
    label: str  # what it is, in words
    function: Callable[[Bits, Bits], float | None] | None = None
    parts: tuple[str, ...] = ()  # names of measures
    protocols: tuple[str, ...] = ("davis2016", "all_frames")  # the first is shown where there is room for one
    unit: str = "%"  # of shares of 1, which are shown in percent; any other, or "": numbers shown as they are
    higher_is_better: bool = True
    recall_and_decay: bool = True  # both are stated beside its mean over a sequence
    bounds: tuple[float, float] = (0.0, 1.0)  # between which a frame's value lies
    gaps: bool = False  # a frame may have no value (None), and does not count then
    pairs: bool = False  # it looks at predictions that follow each other, and only on request: it takes long
    scale: float = 1.0  # its mean over frames is multiplied by it
    column: str = ""  # its heading beside measures of other protocols; its name, if ""
    keys: tuple[str, ...] = ()  # of its frames, and of its means, in score.json, where they are not its name

    def __post_init__(self) -> None:
        if (self.function is None) != bool(self.parts):
            raise ValueError(f"measure {self.name}: give it a function or parts, one of the two")
        if not self.protocols or not PROTOCOLS.keys() >= {*self.protocols}:
            raise ValueError(f"measure {self.name}: protocols are {[*PROTOCOLS]}, got {self.protocols}")

    def __call__(self, first: Bits, second: Bits) -> float | None:
        """What its function says of two masks."""
        assert self.function is not None
        return self.function(first, second)

    @property
    def key(self) -> str:
        """Of its frames' values."""
        return self.keys[0] if self.keys else self.name

    @property
    def mean_keys(self) -> tuple[str, ...]:
        """Of its means, in each protocol; they all say the same."""
        return self.keys[1:] or (self.name,)

    @property
    def heading(self) -> str:
        """Of a column, with the unit where that is not percent."""
        return (self.column or self.name) + (f" ({self.unit})" if self.unit not in ("%", "") else "")

    def of_frames(self, raw: Raw, protocol: str | None = None) -> list[float | None]:
        """The values of a sequence's frames, of those only that `protocol` counts; none where `raw` has none."""
        if self.parts:
            columns = [MEASURES[part].of_frames(raw, protocol) for part in self.parts]
            return [None if None in own else average(own) for own in zip(*columns, strict=True)]
        values = list(raw.get(self.key, ()))
        if protocol is not None:
            ends = int(PROTOCOLS[protocol].drops_ends)
            values = values[ends : len(values) - ends - self.pairs]
        return values if self.scale == 1 else [None if v is None else self.scale * v for v in values]

    def entry(self, scores: Scores, protocol: str | None = None) -> Any:
        """What `scores` say of it: a number, {"mean", "recall", "decay"}, or None where they do not know it."""
        return (scores.get(protocol or self.protocols[0]) or {}).get(self.mean_keys[0])

    def figure(self, scores: Scores, protocol: str | None = None) -> float | None:
        """Its mean."""
        entry = self.entry(scores, protocol)
        return entry["mean"] if isinstance(entry, Mapping) else entry

    def text(self, value: float | None, form: str = ".2f") -> str:
        """A value as people read it, or a dash where there is none."""
        return "-" if value is None else f"{100 * value if self.unit == '%' else value:{form}}"

    def rank(self, value: float | None) -> tuple[bool, float]:
        """What sorts values, the best first and those that are missing last."""
        return value is None, (-1 if self.higher_is_better else 1) * (value or 0.0)


_ROWS = (
    Measure(
        "IoU",
        "mean IoU of all frames",
        iou,
        protocols=("contest",),
        recall_and_decay=False,
        gaps=True,
        column="contest",
        keys=("iou", "segmentation_metric", "mean_iou"),
    ),
    Measure("J", "region similarity", jaccard),
    Measure("F", "boundary accuracy", contour_f),
    Measure("J&F", "mean of J and F", parts=("J", "F"), recall_and_decay=False),
    Measure(
        "T",
        "instability",
        mask_instability,
        higher_is_better=False,
        recall_and_decay=False,
        gaps=True,
        pairs=True,
        scale=SCALE,
    ),
    Measure("BIoU", "IoU of the bands along the contours", band_iou),
)
MEASURES = {row.name: row for row in _ROWS}

JUDGED = MEASURES["IoU"]  # by which the contest ranks
OVERALL = MEASURES["J&F"]  # by which pages order sequences and frames
SELECTED = MEASURES["J"]  # by which weights, and the jobs of a sweep, are chosen on held-out clips
VALIDATION = f"val/{SELECTED.name}"  # as it is logged
HOLDOUT = f"hold-out {SELECTED.name}"  # as people are told it


def columns(scores: Iterable[Scores], protocol: str | None = None) -> list[Measure]:
    """The measures that a table of `scores` has columns for, in `protocol` or, without one, each in its own first."""
    known = list(scores)
    return [
        row
        for row in MEASURES.values()
        if (protocol is None or protocol in row.protocols)
        and (not row.pairs or any(row.figure(own, protocol) is not None for own in known))
    ]


for _module in filter(None, os.environ.get(OWN, "").split(",")):
    try:
        importlib.import_module(_module)
    except Exception as error:  # whatever a module of the user's raises
        raise BadInput(f"{OWN}: {_module} cannot be imported: {brief(error)}") from error
