"""The frames of a sequence as a model wants them, read ahead of it."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from davis_exp.data import flow, flow_geometry
from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import VideoSequence
from davis_exp.inference import neighbours
from davis_exp.inference.settings import Inference
from davis_exp.utils.errors import BadInput

READ_AHEAD = 8  # frames decoded before they are asked for


class Clip(NamedTuple):
    """Consecutive frames, (1, T, 3, h, w) in [0, 1], and their motion pictures, also those of the mirrored clip.

    One picture for each of `inference.flow_gaps`; one where there are none, or frames are their own; none where the
    model needs none. Mirrored ones where the clip is seen mirrored.
    """

    frames: Tensor
    motion: tuple[Tensor, ...] = ()
    mirrored_motion: tuple[Tensor, ...] = ()


class _Read(NamedTuple):
    frame: np.ndarray  # (h, w, 3) uint8, as are the pictures
    motion: tuple[np.ndarray, ...]
    mirrored_motion: tuple[np.ndarray, ...]
    own_size: tuple[int, int]
    grey: np.ndarray | None = None  # what flow to its neighbours is found on, where anything asks for it


class Frames:
    """The sequence's frames, decoded and resized ahead of the model by one thread, each held only while needed."""

    def __init__(
        self, sequence: VideoSequence, how: Inference, motion: MotionSource | None, device: torch.device | str
    ) -> None:
        self.sequence, self.how, self.motion, self.device = sequence, how, motion, device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._ahead: dict[int, Future[_Read]] = {}
        self._own_size: dict[int, tuple[int, int]] = {}
        self.neighbours = neighbours.Neighbours()

    def __len__(self) -> int:
        return len(self.sequence)

    def _read(self, i: int) -> _Read:
        frame = self.sequence.frame(i)  # (H, W, 3)
        own, size = frame.shape[:2], self.how.size
        if size is not None and own != size:
            frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        related = self.how.carry or self.how.track
        grey = flow.grey(frame, neighbours.SIDE) if related else None
        if self.motion is None:
            return _Read(frame, (), (), own, grey)
        fields = []
        for gap in self.how.flow_gaps or (None,):
            vectors = self.motion.vectors(self.sequence, i, gap)
            if vectors is None:
                return _Read(frame, (frame,), (np.ascontiguousarray(frame[:, ::-1]),), own, grey)
            fields.append(flow_geometry.resample(vectors, frame.shape[:2]))
        mirrored = fields if self.how.flip or len(fields) > 1 else []
        return _Read(
            frame,
            tuple(_picture(vectors) for vectors in fields),
            tuple(_picture(flow_geometry.flip(vectors)) for vectors in mirrored),
            own,
            grey,
        )

    def clip(self, start: int, stop: int) -> Clip:
        """Frames start … stop − 1; those before `start` are not asked for again."""
        for i in range(start, min(stop + READ_AHEAD, len(self))):
            if i not in self._ahead:
                self._ahead[i] = self._pool.submit(self._read, i)
        read = [self._ahead[i].result() for i in range(start, stop)]
        for i, one in enumerate(read, start):
            self._own_size[i] = one.own_size
            if one.grey is not None:
                self.neighbours.add(i, one.grey)
        for i in [i for i in self._ahead if i < start]:
            del self._ahead[i]
        if len({one.frame.shape for one in read}) > 1:
            raise BadInput(
                f"{self.sequence.name}: frames of several sizes; set inference.size=[height,width] to resize them"
            )
        return Clip(
            self._tensor([one.frame for one in read]),
            tuple(map(self._tensor, zip(*(one.motion for one in read), strict=True))),
            tuple(map(self._tensor, zip(*(one.mirrored_motion for one in read), strict=True))),
        )

    def _tensor(self, images: Sequence[np.ndarray]) -> Tensor:
        """T pictures (h, w, 3) uint8 → (1, T, 3, h, w) in [0, 1] on the device."""
        clip = torch.from_numpy(np.stack(images)).to(self.device)
        return clip.permute(0, 3, 1, 2)[None].float() / 255

    def own_size(self, i: int) -> tuple[int, int]:
        """(H, W) of frame i as stored; asked once per frame, in order."""
        return self._own_size.pop(i)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _picture(vectors: np.ndarray) -> np.ndarray:
    return flow_geometry.picture(vectors).transpose(1, 2, 0)
