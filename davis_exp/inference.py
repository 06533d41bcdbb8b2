"""A whole sequence → masks, frame by frame, in memory that does not grow with the sequence.

The model's `.context` decides how: None streams with state, (0, 0) takes frames in independent chunks, anything
else lays overlapping windows and averages their probabilities.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.data.sequences import Sequence
from davis_exp.errors import BadInput

READ_AHEAD = 8  # frames decoded before they are asked for


@dataclass(frozen=True)
class Inference:
    """How a sequence is run.

    Attributes:
        size: (height, width) that the model sees; None = the frames' own.
        window: frames the model sees at once (when it does not stream).
        stride: frames from the start of one window to the next.
    """

    size: tuple[int, int] | None = None
    window: int = 8
    stride: int = 5

    def __post_init__(self) -> None:
        if self.window < 1:
            raise BadInput(f"inference.window: must be at least 1, got {self.window}")
        if not 1 <= self.stride <= self.window:
            raise BadInput(
                f"inference.stride: must lie in 1 … {self.window} (inference.window), got {self.stride}"
            )
        if self.size is not None and min(self.size) < 1:
            raise BadInput(f"inference.size: both sides must be at least 1, got {list(self.size)}")


def predict(
    model: nn.Module, sequence: Sequence, how: Inference, device: torch.device | str = "cpu"
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (i, confidence) for every frame in order: confidence is (H, W) uint8 at the frame's own size.

    `round(255 · probability)`, so that the contest's `round(x / 255)` finds probability 0.5 again.
    """
    frames = _Frames(sequence, how.size)
    try:
        probabilities = (
            _stream(model, frames, device) if model.context is None else _windows(model, frames, how, device)
        )
        for i, probability in enumerate(probabilities):  # probability: (h, w)
            full = F.interpolate(
                probability[None, None], frames.own_size(i), mode="bilinear", align_corners=False
            )
            yield i, (full[0, 0] * 255).round().clamp(0, 255).byte().cpu().numpy()
    finally:
        frames.close()


def _stream(model: nn.Module, frames: "_Frames", device: torch.device | str) -> Iterator[Tensor]:
    state = None
    for t in range(len(frames)):
        with torch.inference_mode():
            prediction, state = model(frames.clip(t, t + 1, device), state=state)
            probability = prediction.logits[0, 0, 0].float().sigmoid()
        yield probability


def spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Windows [start, stop) that cover every frame; the last is drawn back so that it ends with the sequence."""
    if length <= window:
        return [(0, length)]
    starts = [*range(0, length - window, stride), length - window]
    return [(start, start + window) for start in starts]


def _windows(
    model: nn.Module, frames: "_Frames", how: Inference, device: torch.device | str
) -> Iterator[Tensor]:
    n = len(frames)
    if tuple(model.context) == (0, 0):  # type: ignore[arg-type]  # frames do not see each other: chunks, no overlap
        laid = [(start, min(start + how.window, n)) for start in range(0, n, how.window)]
    else:
        laid = spans(n, how.window, how.stride)
    pending: deque[tuple[Tensor, int]] = (
        deque()
    )  # of each frame not yet given out: sum of probabilities, how many
    given = 0
    for k, (start, stop) in enumerate(laid):
        with torch.inference_mode():
            prediction, _ = model(frames.clip(start, stop, device))
            probabilities = prediction.logits[0, :, 0].float().sigmoid()  # (T, h, w)
        for slot, probability in enumerate(probabilities, start=start - given):
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


class _Frames:
    """The sequence's frames, decoded and resized ahead of the model by one thread, each held only while needed."""

    def __init__(self, sequence: Sequence, size: tuple[int, int] | None) -> None:
        self.sequence, self.size = sequence, size
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="frames")
        self._ahead: dict[int, Future[tuple[np.ndarray, tuple[int, int]]]] = {}
        self._own_size: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.sequence)

    def _read(self, i: int) -> tuple[np.ndarray, tuple[int, int]]:
        frame = self.sequence.frame(i)  # (H, W, 3)
        own = frame.shape[:2]
        if self.size is not None and own != self.size:
            frame = cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_AREA)
        return frame, own

    def clip(self, start: int, stop: int, device: torch.device | str) -> Tensor:
        """Frames start … stop − 1 as (1, T, 3, h, w) float in [0, 1]."""
        for i in range(start, min(stop + READ_AHEAD, len(self))):
            if i not in self._ahead:
                self._ahead[i] = self._pool.submit(self._read, i)
        frames = []
        for i in range(start, stop):
            frame, own = self._ahead[i].result()
            self._own_size[i] = own
            frames.append(frame)
        for i in [i for i in self._ahead if i < start]:
            del self._ahead[i]
        if len({frame.shape for frame in frames}) > 1:
            raise BadInput(
                f"{self.sequence.name}: frames of several sizes; set inference.size=[height,width] to resize them"
            )
        clip = torch.from_numpy(np.stack(frames)).to(device)  # (T, h, w, 3) uint8
        return clip.permute(0, 3, 1, 2)[None].float() / 255

    def own_size(self, i: int) -> tuple[int, int]:
        """(H, W) of frame i as stored; asked once per frame, in order."""
        return self._own_size.pop(i)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
