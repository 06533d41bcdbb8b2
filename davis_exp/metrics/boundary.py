"""F, contour accuracy: how much of each mask's boundary lies near the other's (Perazzi et al., CVPR 2016).

The matching of the official evaluation: both boundary maps are dilated with a disk, precision is the share
of the predicted boundary inside the dilated true one, recall the other way round. Here on packed rows, so a
dilation is a few hundred operations on words instead of a convolution over pixels; the numbers are equal.
"""

import math

import numpy as np

from davis_exp.metrics.bits import Bits, count, cropped

TOLERANCE = 0.008  # of the image diagonal


def contour_f(prediction: Bits, truth: Bits) -> float:
    """F of two masks: 1 if neither has a boundary, 0 if one has none. Raises ValueError if the sizes differ."""
    edges = boundary_map(*cropped(prediction, truth))
    lengths = [count(own) for own in edges]
    if not all(lengths):
        return float(lengths[0] == lengths[1])
    near = edges & dilate(edges, radius(truth.shape))[::-1]
    precision, recall = (count(own) / length for own, length in zip(near, lengths, strict=True))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def radius(shape: tuple[int, int]) -> int:
    """Radius of the disk in pixels for an (H, W) mask: 0.008 of the diagonal, rounded up."""
    return int(np.ceil(TOLERANCE * np.linalg.norm(shape)))


def boundary_map(words: np.ndarray, width: int) -> np.ndarray:
    """Pixels that differ from their east, south or south-east neighbour: (…, H, ceil(width / 64)) as in `Bits`.

    Outside the frame the edge pixel is repeated, which is what the official code's special last row and
    column amount to: a mask has no boundary along the frame's border.
    """
    if not words.size:
        return words
    east = words >> np.uint64(1)
    east[..., :-1] |= words[..., 1:] << np.uint64(63)
    east[..., -1] |= words[..., -1] & (np.uint64(1) << np.uint64((width - 1) % 64))
    edges = words ^ east
    above = words[..., :-1, :]
    edges[..., :-1, :] |= (above ^ words[..., 1:, :]) | (above ^ east[..., 1:, :])
    return edges


def dilate(words: np.ndarray, reach: int) -> np.ndarray:
    """Dilate packed rows (…, H, words) with the disk dx² + dy² <= reach²; bits past the mask's width may become set."""
    *others, height, width = words.shape
    # zero words after each row keep rows apart, zero rows masks, so that all shifting is of one contiguous line
    apart = np.zeros((*others, height + reach, width - (-reach // 64)), np.uint64)
    apart[..., :height, :width] = words
    dilated = _dilate_line(apart.reshape(-1), reach, apart.shape[-1])
    return dilated.reshape(apart.shape)[..., :height, :width]


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
