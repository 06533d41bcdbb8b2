"""The probabilities of the frames before and after, carried along the flow, averaged with a frame's own."""

from collections.abc import Iterator

import numpy as np

from davis_exp.inference.neighbours import Neighbours, agreeing, pulled


def carried(
    probabilities: Iterator[np.ndarray], neighbours: Neighbours, weight: float
) -> Iterator[np.ndarray]:
    """Each map (h, w) float32 averaged with the two beside it, in order, one frame late.

    The map itself counts 1; its neighbours, as the model gave them, count `weight` where the flow there and back agrees,
    and nothing where it does not: what was hidden, has left the frame or was matched wrongly is not carried.
    """
    before: np.ndarray | None = None
    own = next(probabilities, None)
    i = 0
    while own is not None:
        after = next(probabilities, None)
        total, count = own.copy(), np.ones_like(own)
        for j, other in ((i - 1, before), (i + 1, after)):
            there = None if other is None else neighbours.vectors(i, j, own.shape)
            if other is None or there is None or other.shape != own.shape:
                continue
            back = neighbours.vectors(j, i, own.shape)
            assert back is not None
            share = weight * agreeing(there, back).astype(np.float32)
            total += share * pulled(other, there)
            count += share
        yield total / count
        before, own, i = own, after, i + 1
