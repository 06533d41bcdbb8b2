"""How the values of a sequence's frames become three numbers, as the DAVIS evaluation does it."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

RECALL_THRESHOLD = 0.5
DECAY_BINS = 4


class Statistics(NamedTuple):
    """Mean, recall (share of frames above 0.5) and decay (first quarter minus last) of one sequence."""

    mean: float | None
    recall: float | None
    decay: float | None


def statistics(values: Iterable[float | None]) -> Statistics:
    """Statistics of one sequence's per-frame values, in frame order; all None if no frame has one.

    The four bins share their border frames: bin k holds both of its ends. Borders are rounded half up.
    """
    raw = np.array([value for value in values if value is not None], float)
    if not len(raw):
        return Statistics(None, None, None)
    end, begin = _borders(len(raw))
    first, last = raw[: end + 1], raw[begin:]
    return Statistics(
        float(raw.mean()), float((raw > RECALL_THRESHOLD).mean()), float(first.mean() - last.mean())
    )


@functools.cache
def _borders(frames: int) -> tuple[int, int]:
    """Where the first bin ends and the last begins."""
    # the official code keeps the borders in uint8, which wraps in sequences of more than 256 frames
    borders = np.floor(np.linspace(0, frames - 1, DECAY_BINS + 1) + 0.5 + 1e-10).astype(int)
    return int(borders[1]), int(borders[-2])


def average(values: Iterable[float | None]) -> float | None:
    """Plain mean of the values that are there; None if there is none."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
