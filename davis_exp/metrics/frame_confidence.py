"""How far the mask of a frame is to be trusted where there is no truth: a number from 0 to 1, from arrays alone."""

from collections.abc import Sequence

import cv2
import numpy as np

from davis_exp.metrics.jaccard import jaccard
from davis_exp.metrics.protocols import THRESHOLD

WEIGHT = 0.25  # of the disagreement, as a power

# Chosen on the three train clips that the models of the zoo held out, among the entropy around the object's border (its
# mean there, its sum over the object's area), the expected overlap, and powers of the disagreement and of its excess.


def expected_overlap(confidence: np.ndarray) -> float:
    """The J that a mask has with what its own confidence map (H, W) uint8 expects to be there.

    That is Σ p over the mask, divided by Σ max(p, mask): 1 where the map is sure, less for each pixel in doubt, the more
    so the smaller the object. 0 where nothing was found.
    """
    inside = confidence >= THRESHOLD
    area = np.count_nonzero(inside)
    found, missed = confidence.sum(where=inside) / 255, confidence.sum(where=~inside) / 255
    return float(found / (area + missed)) if area else 0.0


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


def frame_confidences(overlaps: Sequence[float], disagreements: Sequence[float | None]) -> list[float]:
    """The confidence, 0 … 1, of each frame of a clip: sure of itself, and moving as the picture does.

    Of the disagreement counts what it is above the clip's median: a small or fast object always has some.

    Args:
        overlaps: `expected_overlap` of each frame.
        disagreements: of each frame with the one before; None where they cannot be compared.
    """
    known = [value for value in disagreements if value is not None]
    usual = float(np.median(known)) if known else 0.0
    excess = [0.0 if value is None else max(0.0, value - usual) for value in disagreements]
    return [sure * (1 - more) ** WEIGHT for sure, more in zip(overlaps, excess, strict=True)]


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
