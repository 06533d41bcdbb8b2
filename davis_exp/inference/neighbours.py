"""Optical flow between the frames of a sequence that follow each other, for what is done to their probabilities."""

from functools import lru_cache

import cv2
import numpy as np

from davis_exp.data import flow, flow_geometry

SIDE = 384  # pixels: frames are compared at no more than this, which makes it cheap
PRESET: flow.Preset = "fast"
FRAMES_KEPT = 3  # frames behind the newest that may still be asked for
# Sundaram et al., ECCV 2010: there and back may differ by a hundredth of the way, squared, and half a pixel squared.
SHARE, SLACK = 0.01, 0.5


class Neighbours:
    """Small grey pictures of the last frames, and DIS flow between them; a few are held, however long the sequence."""

    def __init__(self) -> None:
        self._grey: dict[int, np.ndarray] = {}
        self._between = lru_cache(4)(self._flow)

    def add(self, i: int, grey: np.ndarray) -> None:
        """Frame `i` as `flow.grey` makes it."""
        self._grey[i] = grey

    def vectors(self, i: int, j: int, size: tuple[int, ...]) -> np.ndarray | None:
        """Flow from frame `i` to frame `j`, (2, h, w) on a grid of `size`; None where the two differ in size."""
        for old in [k for k in self._grey if k < max(i, j) - FRAMES_KEPT]:
            del self._grey[old]
        if self._grey[i].shape != self._grey[j].shape:
            return None
        return flow_geometry.resample(self._between(i, j), (size[0], size[1]))

    def _flow(self, i: int, j: int) -> np.ndarray:
        return flow.between(self._grey[i], self._grey[j], PRESET).transpose(2, 0, 1)


def pulled(picture: np.ndarray, vectors: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """What lies in `picture` (h, w) where the vectors (2, h, w) of each pixel lead; 0 outside it."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    return cv2.remap(picture, x + vectors[0], y + vectors[1], interpolation, borderMode=cv2.BORDER_CONSTANT)


def agreeing(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where flow to another frame and flow back, both (2, h, w), end where they began, inside the frame: (h, w) bool."""
    returned = np.stack([pulled(np.ascontiguousarray(part), there) for part in back])
    y, x = np.mgrid[: there.shape[1], : there.shape[2]]
    to_x, to_y = x + there[0], y + there[1]
    inside = (to_x >= 0) & (to_x <= there.shape[2] - 1) & (to_y >= 0) & (to_y <= there.shape[1] - 1)
    way = (there**2).sum(0) + (returned**2).sum(0)
    return inside & (((there + returned) ** 2).sum(0) <= SHARE * way + SLACK)
