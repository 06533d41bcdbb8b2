"""F, contour accuracy: how much of each mask's boundary lies near the other's (Perazzi et al., CVPR 2016).

The matching of the official evaluation: both boundary maps are dilated with a disk, precision is the share
of the predicted boundary inside the dilated true one, recall the other way round. Here on packed rows, so a
dilation is a few hundred operations on words instead of a convolution over pixels; the numbers are equal.
"""

import math
from typing import NamedTuple

import numpy as np

from davis_exp.metrics.bits import Bits, count

TOLERANCE = 0.008  # of the image diagonal


class Boundary(NamedTuple):
    """A mask's boundary, its length in pixels, and the zone that counts as near it (words as in `Bits`)."""

    map: np.ndarray
    length: int
    zone: np.ndarray


def radius(shape: tuple[int, int]) -> int:
    """Radius of the disk in pixels for an (H, W) mask: 0.008 of the diagonal, rounded up."""
    return int(np.ceil(TOLERANCE * np.linalg.norm(shape)))


def boundary_map(mask: Bits) -> np.ndarray:
    """Pixels that differ from their east, south or south-east neighbour: (H, ceil(W / 64)) uint64.

    Outside the frame the edge pixel is repeated, which is what the official code's special last row and
    column amount to: a mask has no boundary along the frame's border.
    """
    words = mask.words
    if not words.size:
        return words
    east = words >> np.uint64(1)
    east[:, :-1] |= words[:, 1:] << np.uint64(63)
    last = np.uint64((mask.width - 1) % 64)
    east[:, -1] |= words[:, -1] & (np.uint64(1) << last)
    edges = words ^ east
    edges[:-1] |= (words[:-1] ^ words[1:]) | (words[:-1] ^ east[1:])
    return edges


def dilate(words: np.ndarray, reach: int) -> np.ndarray:
    """Dilate packed rows with the disk dx² + dy² <= reach²; bits past the mask's width may become set."""
    out = np.zeros_like(words)
    rows, columns = np.flatnonzero(words.any(axis=1)), np.flatnonzero(words.any(axis=0))
    if not rows.size:
        return out
    guard = -(-reach // 64)  # words that the disk can reach into
    box = np.s_[
        max(rows[0] - reach, 0) : rows[-1] + reach + 1, max(columns[0] - guard, 0) : columns[-1] + guard + 1
    ]
    block = words[box]
    # zero words after each row keep rows apart, so that all shifting is of one contiguous line
    height, width = block.shape
    apart = np.zeros((height, width + guard), np.uint64)
    apart[:, :width] = block
    dilated = _dilate_line(apart.reshape(-1), reach, width + guard)
    out[box] = dilated.reshape(height, -1)[:, :width]
    return out


def _dilate_line(line: np.ndarray, reach: int, stride: int) -> np.ndarray:
    out = np.zeros_like(line)
    row, half = line, 0
    for dy in range(reach, -1, -1):  # from the disk's tip to its middle: its rows only grow wider
        target = math.isqrt(reach * reach - dy * dy)
        while half < target:
            step = min(target - half, 2 * half + 1, 63)  # the widest step that leaves no gap
            row, half = _spread(row, step), half + step
        shift = dy * stride
        if shift < len(line):
            out[shift:] |= row[: len(line) - shift]
            out[: len(line) - shift] |= row[shift:]
    return out


def _spread(line: np.ndarray, step: int) -> np.ndarray:
    """Each bit, and the bits `step` before and after it."""
    near, far = np.uint64(step), np.uint64(64 - step)
    out = line | (line << near)
    out |= line >> near
    out[1:] |= line[:-1] >> far
    out[:-1] |= line[1:] << far
    return out


def boundary(mask: Bits | np.ndarray) -> Boundary:
    """The boundary of a mask, packed or an (H, W) array where non-zero is foreground."""
    mask = mask if isinstance(mask, Bits) else Bits.of(mask)
    edges = boundary_map(mask)
    length = count(edges)
    return Boundary(edges, length, dilate(edges, radius(mask.shape)) if length else edges)


def contour_f(prediction: Bits, truth: Bits) -> float:
    """F of two masks of one size."""
    return boundary_f(boundary(prediction), boundary(truth))


def boundary_f(prediction: Boundary, truth: Boundary) -> float:
    """F of two boundaries of masks of one size.

    Without any boundary on both sides: 1; on one side only: 0.
    """
    if not prediction.length or not truth.length:
        return float(prediction.length == truth.length)
    precision = count(prediction.map & truth.zone) / prediction.length
    recall = count(truth.map & prediction.zone) / truth.length
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
