"""Boundary IoU: the IoU of what lies near each mask's own contour, inside it (Cheng et al., CVPR 2021).

Where the area of a large object hides a coarse outline from J, the band of 2 % of the image's diagonal along it does not.
"""

import numpy as np

from davis_exp.metrics.bits import Bits, cropped
from davis_exp.metrics.jaccard import jaccard

WIDTH = 0.02  # of the image diagonal


def band_iou(prediction: Bits, truth: Bits) -> float:
    """Boundary IoU of two masks; two empty ones agree: 1. Raises ValueError if the sizes differ."""
    words, width = cropped(prediction, truth)
    bands = words & ~erode(words, band_width(truth.shape))
    return jaccard(*(Bits(own, width) for own in bands))


def band_width(shape: tuple[int, int]) -> int:
    """Width of the band in pixels for an (H, W) mask."""
    return max(1, round(WIDTH * float(np.linalg.norm(shape))))


def erode(words: np.ndarray, reach: int) -> np.ndarray:
    """Packed rows (…, H, words) eroded by the square of side 2 `reach` + 1; beyond the frame there is background."""
    out = np.zeros_like(words)
    if words.shape[-2] <= 2 * reach:
        return out
    block, height = words, 1  # of the window whose rows are joined
    while height < 2 * reach + 1:
        step = min(height, 2 * reach + 1 - height)
        block, height = block[..., :-step, :] & block[..., step:, :], height + step
    half = 0
    while half < reach:
        step = min(reach - half, 2 * half + 1, 63)  # the widest that leaves no gap
        near, far = np.uint64(step), np.uint64(64 - step)
        left, right = block << near, block >> near
        left[..., 1:] |= block[..., :-1] >> far
        right[..., :-1] |= block[..., 1:] << far
        block, half = block & left & right, half + step
    out[..., reach:-reach, :] = block
    return out
