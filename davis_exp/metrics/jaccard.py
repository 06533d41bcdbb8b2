"""J, region similarity: intersection over union (Perazzi et al., CVPR 2016, section 4)."""

import numpy as np

from davis_exp.metrics.bits import Bits, overlap


def jaccard(prediction: Bits | np.ndarray, truth: Bits | np.ndarray) -> float:
    """Intersection over union of two masks, packed or (H, W) arrays where non-zero is foreground.

    Two empty masks agree: 1. Raises ValueError if the sizes differ.
    """
    a, b = (mask if isinstance(mask, Bits) else Bits.of(mask) for mask in (prediction, truth))
    intersection, union = overlap(a, b)
    return intersection / union if union else 1.0
