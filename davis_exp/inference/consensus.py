"""The probability of each pixel drawn towards that of what looks like it in the frames around."""

import math
from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from davis_exp.inference.views import Answer
from davis_exp.utils.errors import BadInput

SPAN, STEP = 36, 9  # frames: how far the others may be, and from one to the next; nearer ones err alike
TEMPERATURE = 0.05  # of the cosines between features: how much more the frame of the better match counts
CELLS = 2000  # of the grid on which features are compared; finer ones are pooled


def agreed(answers: Iterable[Answer], weight: float) -> Iterator[np.ndarray]:
    """The maps (h, w) float32 in order, `SPAN` frames late: each less `weight` of its difference from the others' opinion.

    Non-local consensus (Faktor and Irani, Video Segmentation by Non-Local Consensus Voting, BMVC 2014), of networks'
    probabilities by networks' features: a cell of the feature grid looks for the one most like it in each of the frames
    around, by the cosine of features standardised over all of these, and takes the mean of their probabilities, weighted by
    a softmax of the cosines. Frames of other sizes are not asked. Of answers that break off, what there is comes out first.

    Raises BadInput for features that are not finite.
    """
    held: deque[_Frame] = deque()  # the next frame to be given out, and up to `SPAN` on either side of it
    place = 0  # of that next one among them
    coming, end = iter(answers), None
    while True:
        while end is None and len(held) <= place + SPAN:
            try:
                held.append(_Frame(next(coming)))
            except (StopIteration, BadInput) as reason:
                end = reason
        if place == len(held):
            break
        own = held[place]
        asked = [held[i] for i in range(place % STEP, len(held), STEP) if i != place]
        yield own.drawn([one for one in asked if one.features.shape == own.features.shape], weight)
        place += 1
        if place > SPAN:
            held.popleft()
            place -= 1
    if isinstance(end, BadInput):
        raise end


class _Frame:
    """A map (h, w), the features (n, C) of its cells, and their probabilities (n,)."""

    def __init__(self, answer: Answer) -> None:
        assert answer.features is not None
        features, stride = answer.features[None].float(), answer.stride  # (1, C, rows, columns)
        pool = math.ceil(math.sqrt(features.shape[-2] * features.shape[-1] / CELLS))
        if pool > 1:
            features, stride = F.avg_pool2d(features, pool, ceil_mode=True), stride * pool
        if not features.isfinite().all():
            raise BadInput("inference.consensus: the model's features are no finite numbers; leave it out")
        self.grid = features.shape[-2:]
        self.features = features[0].flatten(1).T
        self.map = answer.probability.cpu().numpy()
        # As many pixels as the cells cover: more than the map's where its sides are no multiples of the stride.
        sides = zip(self.grid, self.map.shape, strict=True)
        self.covered = [max(round(cells * stride), side) for cells, side in sides]
        below, beside = (all_ - side for all_, side in zip(self.covered, self.map.shape, strict=True))
        whole = cv2.copyMakeBorder(self.map, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        own = cv2.resize(whole, self.grid[::-1], interpolation=cv2.INTER_AREA).ravel()
        self.probabilities = torch.from_numpy(own).to(features.device)

    def drawn(self, others: list["_Frame"], weight: float) -> np.ndarray:
        """The map, less `weight` of what its cells' probabilities differ from those of the most alike in `others`."""
        if not others:
            return self.map
        with torch.inference_mode():
            opinion = self._opinion(others)
        change = (opinion - self.probabilities).reshape(self.grid).cpu().numpy()
        wide = cv2.resize(change, self.covered[::-1], interpolation=cv2.INTER_LINEAR)
        height, width = self.map.shape
        return np.clip(self.map + weight * wide[:height, :width], 0, 1)

    def _opinion(self, others: list["_Frame"]) -> Tensor:
        features = torch.stack([self.features, *(one.features for one in others)])
        deviation, mean = torch.std_mean(
            features, (0, 1)
        )  # else what is never negative all points the same way
        own, *rest = F.normalize((features - mean) / (deviation + 1e-6), dim=-1)
        alike, said = [], []
        for one, other in zip(others, rest, strict=True):
            best = (own @ other.T).max(1)
            alike.append(best.values)
            said.append(one.probabilities[best.indices])
        return (torch.stack(alike).div(TEMPERATURE).softmax(0) * torch.stack(said)).sum(0)
