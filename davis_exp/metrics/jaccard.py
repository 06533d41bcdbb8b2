"""J, region similarity: intersection over union (Perazzi et al., CVPR 2016, section 4)."""

from functools import lru_cache

import numpy as np

from davis_exp.metrics.bits import Bits, overlap


def jaccard(prediction: Bits | np.ndarray, truth: Bits | np.ndarray) -> float:
    """Intersection over union of two masks, packed or (H, W) arrays where non-zero is foreground.

    Two empty masks agree: 1. Raises ValueError if the sizes differ.
    """
    a, b = (mask if isinstance(mask, Bits) else Bits.of(mask) for mask in (prediction, truth))
    value = iou(a, b)
    return 1.0 if value is None else value


@lru_cache(maxsize=4)  # by identity: of the same two masks the judge's measure and J both ask
def iou(prediction: Bits, truth: Bits) -> float | None:
    """The same as the judge has it: two empty masks have no value. Raises ValueError if the sizes differ."""
    intersection, union = overlap(prediction, truth)
    return intersection / union if union else None
