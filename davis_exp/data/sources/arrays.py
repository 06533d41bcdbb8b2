"""Frames that are in memory, as a sequence."""

from collections.abc import Iterable

import numpy as np

from davis_exp.data.sequences import VideoSequence
from davis_exp.utils.errors import BadInput


class ArraySequence(VideoSequence):
    """Frames in memory, without masks.

    Args:
        frames: each (H, W, 3) uint8 RGB, all of one size; or one array (T, H, W, 3).

    Raises:
        BadInput: no frames, or others.
    """

    labelled = False
    name = "frames"

    def __init__(self, frames: Iterable[np.ndarray]) -> None:
        self.frames = [np.asarray(frame) for frame in frames]
        for i, frame in enumerate(self.frames):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape != (*self.frames[0].shape[:2], 3):
                raise BadInput(
                    f"frame {i} is {frame.dtype} of shape {frame.shape}: give (H, W, 3) uint8 RGB, all of one size"
                )
        if not self.frames:
            raise BadInput("there are no frames: give at least one, (H, W, 3) uint8 RGB")
        self.index = tuple(range(len(self.frames)))
        self.frame_ids = tuple(f"{self.name}/{i:05d}" for i in self.index)

    @property
    def key(self) -> str:
        return f"{self.name} at {id(self.frames):x}"

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.frames[0].shape[:2]
        return height, width

    def frame(self, i: int) -> np.ndarray:
        return self.frames[i]

    def mask(self, i: int) -> np.ndarray:
        raise BadInput("frames in memory have no masks")
