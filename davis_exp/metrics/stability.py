"""T, temporal (in)stability: how much effort it takes to deform one frame's contour into the next's.

Perazzi et al., CVPR 2016, section 4: the contours become polygons, every point of which is described by a
shape context (Belongie, Malik and Puzicha, PAMI 2002); the contours are matched in order by dynamic time
warping, and T is the mean cost of the matched points. Lower is steadier. The parameters are those of the
published evaluation; contours are traced by OpenCV, through pixel centres, so values differ slightly from
those of its own tracer.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from davis_exp.metrics.bits import Bits

TOLERANCE = 3.0  # pixels: of the polygon to the contour, and the longest side after resampling
RADII = np.logspace(np.log10(1 / 8), np.log10(2), 5)  # of the rings, in mean distances between points
ANGLES = 12
MAX_POINTS = 1500  # more than any object's outline has; noise is thinned, since costs grow with the square
SCALE = 5  # the evaluation multiplies a sequence's mean by it, "to put it in a similar range" as J and F
# Where the evaluation leaves T out, because of occlusions and the like: of the 50 sequences of DAVIS-2016 the
# other 27 are marked for it (db_seqs.m and eval_result.m of davisvideochallenge/davis-matlab).
_UNMARKED = """
bmx-bumps bmx-trees breakdance breakdance-flare dance-twirl dog dog-agility drift-chicane goat horsejump-high
horsejump-low libby lucia mallard-fly motocross-jump motorbike paragliding parkour rollerblade scooter-gray
soccerball swing tennis
"""
UNMARKED = frozenset(_UNMARKED.split())


def marked(names: Iterable[str]) -> list[str]:
    """Those of the sequences on which T is measured: all, but for 23 of DAVIS-2016."""
    return [name for name in names if name not in UNMARKED]


class Shape(NamedTuple):
    """The longest contour of a mask: points (N, 2) as x, y in pixels; contexts (N, 60), rows summing to 1."""

    points: np.ndarray
    contexts: np.ndarray


def shape(mask: np.ndarray) -> Shape | None:
    """Describe the contour of an (H, W) mask, non-zero = foreground; None for an empty mask."""
    contours, _ = cv2.findContours((mask != 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return None
    polygons = [cv2.approxPolyDP(contour, TOLERANCE, closed=True)[:, 0] for contour in contours]
    points = resample(max(polygons, key=len).astype(float))
    if len(points) > MAX_POINTS:
        points = points[np.linspace(0, len(points), MAX_POINTS, endpoint=False).astype(int)]
    return Shape(points, shape_contexts(points))


def resample(polygon: np.ndarray) -> np.ndarray:
    """Split the sides of a closed (N, 2) polygon evenly, so that none is longer than the tolerance."""
    sides = np.roll(polygon, -1, axis=0) - polygon
    parts = np.maximum(np.ceil(np.hypot(*sides.T) / TOLERANCE), 1).astype(int)
    start = np.repeat(np.arange(len(polygon)), parts)
    step = np.arange(len(start)) - np.repeat(np.cumsum(parts) - parts, parts)
    points: np.ndarray = polygon[start] + sides[start] * (step / parts[start])[:, None]
    return points


def shape_contexts(points: np.ndarray) -> np.ndarray:
    """Where the other points lie as seen from each: (N, 60) shares in 5 rings of 12 directions.

    Rows sum to 1. Distances are relative to their mean; points beyond the last ring are left out, each point
    sees itself.
    """
    n = len(points)
    away = points[None] - points[:, None]
    distance = np.hypot(away[..., 0], away[..., 1])
    # a single point has no mean distance, and sees only itself, in the innermost ring
    ring = np.searchsorted(RADII, distance / (distance.mean() or 1.0), side="right")
    angle = np.mod(np.arctan2(away[..., 1], away[..., 0]), 2 * np.pi)
    sector = np.minimum((angle / (2 * np.pi / ANGLES)).astype(int), ANGLES - 1)
    bins = len(RADII) * ANGLES
    cell = np.arange(n)[:, None] * bins + ring * ANGLES + sector
    counts = np.bincount(cell[ring < len(RADII)], minlength=n * bins).reshape(n, bins)
    shares: np.ndarray = counts / counts.sum(axis=1, keepdims=True)
    return shares


def context_costs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Half the chi-squared distance of all pairs of contexts: (N, bins), (M, bins) → (N, M) in [0, 1]."""
    # with rows that sum to 1, ½ Σ (a - b)² / (a + b) is 1 - 2 Σ a b / (a + b): only bins that both fill count
    shared = np.zeros((len(first), len(second)))
    for a, b in zip(first.T, second.T, strict=True):
        rows, columns = np.flatnonzero(a), np.flatnonzero(b)
        if rows.size and columns.size:
            x, y = a[rows, None], b[columns]
            shared[np.ix_(rows, columns)] += x * y / (x + y)
    return np.maximum(1 - 2 * shared, 0)


def warp(costs: np.ndarray) -> np.ndarray:
    """Cheapest way from the first to the last cell of (N, M) costs by steps of one row, column or both.

    Returns the cells as (K, 2) rows and columns, from the last back to the first.
    """
    n, m = costs.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[1, 1] = 0.0  # where the way begins costs nothing
    for diagonal in range(1, n + m - 1):  # the cells of an anti-diagonal depend on earlier ones only
        i = np.arange(max(0, diagonal - m + 1), min(n, diagonal + 1))
        j = diagonal - i
        before = np.minimum(np.minimum(total[i, j + 1], total[i + 1, j]), total[i, j])
        total[i + 1, j + 1] = costs[i, j] + before
    way = [(n - 1, m - 1)]
    while way[-1] != (0, 0):
        i, j = way[-1]
        way.append(
            min((i - 1, j - 1), (i - 1, j), (i, j - 1), key=lambda cell: total[cell[0] + 1, cell[1] + 1])
        )
    return np.array(way)


def match(costs: np.ndarray) -> np.ndarray:
    """Pairs of points of two closed contours, (K, 2), no point in two of them, in the contours' order.

    The contours are matched twice: once as they begin, then from just after the cheapest pair on.
    """
    n, m = costs.shape
    way = warp(costs)
    best = way[np.argmin(costs[tuple(way[:-1].T)])] if len(way) > 1 else way[0]
    shift = best + 1
    pairs = (warp(np.roll(costs, tuple(-shift), axis=(0, 1))) + shift) % (n, m)
    for side in (0, 1):  # of the pairs that share a point keep the cheapest
        order = np.lexsort((costs[tuple(pairs.T)], pairs[:, side]))
        pairs = pairs[order]
        pairs = pairs[np.append(True, np.diff(pairs[:, side]) != 0)]
    return pairs


def instability(first: Shape | None, second: Shape | None) -> float | None:
    """T of two consecutive masks: mean cost of their matched contour points, 0 for equal contours.

    None if either mask is empty: such pairs do not count.
    """
    if first is None or second is None:
        return None
    costs = context_costs(first.contexts, second.contexts)
    return float(costs[tuple(match(costs).T)].mean())


def mask_instability(first: Bits, second: Bits) -> float | None:
    """`instability` of two consecutive masks."""
    return instability(_shape(first), _shape(second))


@lru_cache(maxsize=16)  # by identity: a mask is the second of one pair, then the first of the next
def _shape(mask: Bits) -> Shape | None:
    return shape(mask.unpack())
