"""A whole sequence → masks, frame by frame, in memory that does not grow with the sequence.

The model's `.context` decides how: None streams with state, (0, 0) takes frames in independent chunks, anything
else lays overlapping windows and averages their probabilities.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.data import vectors as geometry
from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import Sequence
from davis_exp.errors import BadInput

READ_AHEAD = 8  # frames decoded before they are asked for
CERTAIN = 0.1  # TMO: probabilities below this speak of a confident background


@dataclass(frozen=True)
class Inference:
    """How a sequence is run.

    Attributes:
        size: (height, width) that the model sees; None = the frames' own.
        window: frames the model sees at once (when it does not stream).
        stride: frames from the start of one window to the next.
        flip: average with the answer to the mirrored clip.
        scales: average over these multiples of `size`.
        select_motion: run the model with its motion and with the frames as their own motion, and keep the more
            confident answer of each frame (Cho et al., TMO, WACV 2023).
    """

    size: tuple[int, int] | None = None
    window: int = 8
    stride: int = 5
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    select_motion: bool = False

    def __post_init__(self) -> None:
        if self.window < 1:
            raise BadInput(f"inference.window: must be at least 1, got {self.window}")
        if not 1 <= self.stride <= self.window:
            raise BadInput(f"inference.stride: must lie in 1 … {self.window} (inference.window), got {self.stride}")
        if self.size is not None and min(self.size) < 1:
            raise BadInput(f"inference.size: both sides must be at least 1, got {list(self.size)}")
        if not self.scales or min(self.scales) <= 0:
            raise BadInput(f"inference.scales: needs one scale or more, each above 0, got {list(self.scales)}")

    @property
    def passes(self) -> float:
        """How many times the arithmetic of one plain pass is done."""
        return sum(scale**2 for scale in self.scales) * (1 + self.flip) * (1 + self.select_motion)


def predict(
    model: nn.Module,
    sequence: Sequence,
    how: Inference,
    device: torch.device | str = "cpu",
    motion: MotionSource | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (i, confidence) for every frame in order: confidence is (H, W) uint8 at the frame's own size.

    `round(255 · probability)`, so that the contest's `round(x / 255)` finds probability 0.5 again. `motion` gives
    the pictures that a model with `needs_motion` asks for. Raises BadInput if it asks and there are none.
    """
    if model.needs_motion and motion is None:
        raise BadInput("flow: this model needs motion and is given none; choose a flow, as flow=dis")
    if how.select_motion and not model.needs_motion:
        raise BadInput("inference.select_motion: this model takes no motion pictures; leave it out")
    views = _Views(model, how)
    frames = _Frames(sequence, how, motion if model.needs_motion else None, device)
    try:
        probabilities = _stream(views, frames) if model.context is None else _windows(views, frames, how)
        for i, probability in enumerate(probabilities):  # probability: (h, w)
            full = F.interpolate(probability[None, None], frames.own_size(i), mode="bilinear", align_corners=False)
            yield i, (full[0, 0] * 255).round().clamp(0, 255).byte().cpu().numpy()
    finally:
        frames.close()


def spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Windows [start, stop) that cover every frame; the last is drawn back so that it ends with the sequence."""
    if length <= window:
        return [(0, length)]
    starts = [*range(0, length - window, stride), length - window]
    return [(start, start + window) for start in starts]


def _stream(views: "_Views", frames: "_Frames") -> Iterator[Tensor]:
    for t in range(len(frames)):
        yield views(frames.clip(t, t + 1))[0]


def _windows(views: "_Views", frames: "_Frames", how: Inference) -> Iterator[Tensor]:
    n = len(frames)
    if views.model.context == (0, 0):  # frames do not see each other: chunks, no overlap
        laid = [(start, min(start + how.window, n)) for start in range(0, n, how.window)]
    else:
        laid = spans(n, how.window, how.stride)
    pending: deque[tuple[Tensor, int]] = deque()  # of each frame not yet given out: sum of probabilities, how many
    given = 0
    for k, (start, stop) in enumerate(laid):
        for slot, probability in enumerate(views(frames.clip(start, stop)), start=start - given):
            if slot == len(pending):
                pending.append((probability, 1))
            else:
                total, count = pending[slot]
                pending[slot] = (total + probability, count + 1)
        whole = laid[k + 1][0] if k + 1 < len(laid) else n  # no later window sees a frame before this one
        for _ in range(whole - given):
            total, count = pending.popleft()
            yield total / count
        given = whole


class _Clip(NamedTuple):
    """Consecutive frames, (1, T, 3, h, w) in [0, 1], and their motion pictures, also those of the mirrored clip."""

    frames: Tensor
    motion: Tensor | None = None
    mirrored_motion: Tensor | None = None


class _Views:
    """A model asked about a clip in several ways, each with a state of its own, the answers made one."""

    def __init__(self, model: nn.Module, how: Inference) -> None:
        self.model = model
        self._views = list(product(how.scales, (False, True)[: 1 + how.flip], (False, True)[: 1 + how.select_motion]))
        self._states: list[tuple[Tensor, ...] | None] = [None] * len(self._views)

    @torch.inference_mode()
    def __call__(self, clip: _Clip) -> Tensor:
        """Probabilities (T, h, w) of the next clip."""
        answers: dict[bool, list[Tensor]] = {}
        for k, (scale, mirrored, still) in enumerate(self._views):
            frames, motion = self._see(clip, scale, mirrored, still)
            prediction, state = self.model(frames, motion, self._states[k])
            if self.model.context is None:
                self._states[k] = state
            probability = prediction.logits[0].float().sigmoid()  # (T, 1, h', w')
            if mirrored:
                probability = probability.flip(-1)
            answers.setdefault(still, []).append(_resized(probability, clip.frames.shape[-2:])[:, 0])
        means = [torch.stack(same).mean(0) for same in answers.values()]
        return means[0] if len(means) == 1 else _more_confident(*means)

    @staticmethod
    def _see(clip: _Clip, scale: float, mirrored: bool, still: bool) -> tuple[Tensor, Tensor | None]:
        frames = clip.frames.flip(-1) if mirrored else clip.frames
        motion = clip.mirrored_motion if mirrored else clip.motion
        if still:
            motion = frames
        if scale != 1:
            size = tuple(max(1, round(side * scale)) for side in frames.shape[-2:])
            frames, motion = (None if x is None else _resized(x[0], size)[None] for x in (frames, motion))
        return frames, motion


def _resized(images: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    if images.shape[-2:] == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False, antialias=True)


def _more_confident(one: Tensor, other: Tensor) -> Tensor:
    """Of each frame (T, h, w), the answer whose background is the surer: TMO's choice between its two outputs."""
    sure = [(CERTAIN - answer).clamp(min=0).flatten(1).norm(dim=1) for answer in (one, other)]
    return torch.where((sure[0] >= sure[1])[:, None, None], one, other)


class _Read(NamedTuple):
    frame: np.ndarray  # (h, w, 3) uint8, as are the pictures
    motion: np.ndarray | None
    mirrored_motion: np.ndarray | None
    own_size: tuple[int, int]


class _Frames:
    """The sequence's frames, decoded and resized ahead of the model by one thread, each held only while needed."""

    def __init__(
        self, sequence: Sequence, how: Inference, motion: MotionSource | None, device: torch.device | str
    ) -> None:
        self.sequence, self.how, self.motion, self.device = sequence, how, motion, device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._ahead: dict[int, Future[_Read]] = {}
        self._own_size: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.sequence)

    def _read(self, i: int) -> _Read:
        frame = self.sequence.frame(i)  # (H, W, 3)
        own, size = frame.shape[:2], self.how.size
        if size is not None and own != size:
            frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        if self.motion is None:
            return _Read(frame, None, None, own)
        vectors = self.motion.vectors(self.sequence, i)
        if vectors is None:
            return _Read(frame, frame, np.ascontiguousarray(frame[:, ::-1]), own)
        vectors = geometry.resample(vectors, frame.shape[:2])
        mirrored = _picture(geometry.flip(vectors)) if self.how.flip else None
        return _Read(frame, _picture(vectors), mirrored, own)

    def clip(self, start: int, stop: int) -> _Clip:
        """Frames start … stop − 1; those before `start` are not asked for again."""
        for i in range(start, min(stop + READ_AHEAD, len(self))):
            if i not in self._ahead:
                self._ahead[i] = self._pool.submit(self._read, i)
        read = [self._ahead[i].result() for i in range(start, stop)]
        self._own_size.update({i: one.own_size for i, one in enumerate(read, start)})
        for i in [i for i in self._ahead if i < start]:
            del self._ahead[i]
        if len({one.frame.shape for one in read}) > 1:
            raise BadInput(
                f"{self.sequence.name}: frames of several sizes; set inference.size=[height,width] to resize them"
            )
        pictures = zip(*(one[:3] for one in read), strict=True)
        return _Clip(*(None if images[0] is None else self._tensor(images) for images in pictures))

    def _tensor(self, images: tuple[np.ndarray, ...]) -> Tensor:
        """T pictures (h, w, 3) uint8 → (1, T, 3, h, w) in [0, 1] on the device."""
        clip = torch.from_numpy(np.stack(images)).to(self.device)
        return clip.permute(0, 3, 1, 2)[None].float() / 255

    def own_size(self, i: int) -> tuple[int, int]:
        """(H, W) of frame i as stored; asked once per frame, in order."""
        return self._own_size.pop(i)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _picture(vectors: np.ndarray) -> np.ndarray:
    return geometry.picture(vectors).transpose(1, 2, 0)
