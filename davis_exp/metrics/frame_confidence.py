"""How far the mask of a frame is to be trusted where there is no truth: a number from 0 to 1, from arrays alone."""

from collections.abc import Sequence

import cv2
import numpy as np

from davis_exp.metrics.jaccard import jaccard
from davis_exp.metrics.protocols import THRESHOLD

BORDER = 3  # pixels to each side of the object's border, at the size that the maps are given in

_LEVELS = np.clip(np.arange(256) / 255, 1e-6, 1 - 1e-6)
ENTROPY = (-_LEVELS * np.log2(_LEVELS) - (1 - _LEVELS) * np.log2(1 - _LEVELS)).astype(
    np.float32
)  # of uint8, in bits


def border_entropy(confidence: np.ndarray) -> float:
    """Mean entropy, in bits (0 … 1), of a confidence map (H, W) uint8 in the band around the object's border.

    1, the most there can be, where there is no border: nothing was found, or everything.
    """
    mask = (confidence >= THRESHOLD).astype(np.uint8)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * BORDER + 1, 2 * BORDER + 1))
    band = cv2.dilate(mask, disk) != cv2.erode(mask, disk)
    return float(ENTROPY[confidence[band]].mean()) if band.any() else 1.0


def disagreement(confidence: np.ndarray, before: np.ndarray, flow: np.ndarray) -> float:
    """1 − J between a frame's mask and the mask before it, carried along: 0, they agree; 1, they have nothing in common.

    Args:
        confidence: of this frame, (H, W) uint8.
        before: of the frame before, of the same size.
        flow: from this frame to the one before, (H, W, 2) in pixels, x before y. What it takes from outside the frame
            is not compared.
    """
    height, width = confidence.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    carried = cv2.remap(before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return 1 - jaccard((carried >= THRESHOLD) & inside, (confidence >= THRESHOLD) & inside)


def frame_confidence(entropy: float, disagreement: float | None) -> float:
    """What both make together: 1 where the border is sharp and the mask moves as the picture does.

    `disagreement` is None where there is no other frame.
    """
    return (1 - entropy) * (1 - (disagreement or 0.0))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's coefficient, equal values sharing a rank; None where either does not vary."""
    first, second = _ranks(np.asarray(one, float)), _ranks(np.asarray(other, float))
    if min(len(np.unique(ranks)) for ranks in (first, second)) < 2:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    return (ends - (count - 1) / 2)[place]
