"""How far each mask of a sequence is to be trusted, found while the masks are made, or from those that are there."""

import cv2
import numpy as np

from davis_exp.data import flow
from davis_exp.inference.neighbours import PRESET, SIDE
from davis_exp.metrics import frame_confidence as metric


class ConfidenceMeter:
    """The confidence of each frame of a sequence, whose frames and masks are added in order.

    It holds two small pictures, however long the sequence.
    """

    def __init__(self) -> None:
        self._overlaps: list[float] = []
        self._disagreements: list[float | None] = []  # of each frame with the one before it
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, frame: np.ndarray, confidence: np.ndarray) -> None:
        """The next frame (H, W, 3) uint8 RGB and its confidence map (H, W) uint8, of whatever size."""
        grey = flow.grey(frame, SIDE)
        small = cv2.resize(confidence, grey.shape[::-1], interpolation=cv2.INTER_AREA)
        self._overlaps.append(metric.expected_overlap(small))
        self._disagreements.append(self._disagreement(grey, small))
        self._last = grey, small

    def values(self) -> list[float]:
        """The confidence, 0 … 1, of every frame so far. The first takes its disagreement from the second."""
        carried = list(self._disagreements)
        carried[:1] = carried[1:2] or carried[:1]
        return metric.frame_confidences(self._overlaps, carried)

    def _disagreement(self, grey: np.ndarray, small: np.ndarray) -> float | None:
        if (
            self._last is None or self._last[0].shape != grey.shape
        ):  # frames of another size cannot be compared
            return None
        before, mask = self._last
        return metric.disagreement(small, mask, flow.between(grey, before, PRESET))
