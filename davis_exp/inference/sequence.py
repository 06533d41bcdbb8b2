"""A sequence → its masks, in order."""

from collections import deque
from collections.abc import Generator, Iterator

import cv2
import numpy as np
import torch
from torch import nn

from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import VideoSequence
from davis_exp.inference.carry import carried
from davis_exp.inference.consensus import agreed
from davis_exp.inference.frames import Frames
from davis_exp.inference.settings import Inference, check_motion
from davis_exp.inference.track import tracked
from davis_exp.inference.views import Answer, Views
from davis_exp.utils.errors import BadInput


def predict(
    model: nn.Module,
    sequence: VideoSequence,
    how: Inference,
    device: torch.device | str = "cpu",
    motion: MotionSource | None = None,
) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yields (i, confidence) for every frame in order: confidence is (H, W) uint8 at the frame's own size.

    `round(255 · probability)`, so that the contest's `round(x / 255)` finds probability 0.5 again. `motion` gives
    the pictures that a model with `needs_motion` asks for. Raises BadInput if it asks and there are none.
    """
    if model.needs_motion and motion is None:
        raise BadInput("flow: this model needs motion and is given none; choose a flow, as flow=dis")
    check_motion(vars(how), bool(model.needs_motion))
    views = Views(model, how)
    frames = Frames(sequence, how, motion if model.needs_motion else None, device)
    try:
        answers = _stream(views, frames) if model.context is None else _windows(views, frames, how)
        probabilities: Iterator[np.ndarray]  # (h, w)
        if how.consensus:
            probabilities = agreed(answers, how.consensus)
        else:
            probabilities = (answer.probability.cpu().numpy() for answer in answers)
        if getattr(model, "own_threads", False):
            probabilities = _by_one_thread(probabilities)
        if how.carry:
            probabilities = carried(probabilities, frames.neighbours, how.carry)
        if how.track:
            probabilities = tracked(probabilities, frames.neighbours, how.track, how.track_share)
        for i, probability in enumerate(probabilities):
            # By OpenCV, a tenth of PyTorch's time: the small map also leaves the device faster.
            full = cv2.resize(probability, frames.own_size(i)[::-1], interpolation=cv2.INTER_LINEAR)
            yield i, cv2.convertScaleAbs(full, alpha=255)
    finally:
        frames.close()


def _by_one_thread(answers: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The answers, each made with one thread of PyTorch's, whose others wait awake and take the cores from the engine's."""
    while True:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            answer = next(answers, None)
        finally:
            torch.set_num_threads(threads)
        if answer is None:
            return
        yield answer


def spans(length: int, window: int, stride: int) -> list[tuple[int, int]]:
    """Windows [start, stop) that cover every frame; the last is drawn back so that it ends with the sequence."""
    if length <= window:
        return [(0, length)]
    starts = [*range(0, length - window, stride), length - window]
    return [(start, start + window) for start in starts]


def _stream(views: Views, frames: Frames) -> Iterator[Answer]:
    for t in range(len(frames)):
        yield _at(views(frames.clip(t, t + 1)), 0)


def _windows(views: Views, frames: Frames, how: Inference) -> Iterator[Answer]:
    n = len(frames)
    if views.model.context == (0, 0):  # frames do not see each other: chunks, no overlap
        laid = [(start, min(start + how.window, n)) for start in range(0, n, how.window)]
    else:
        laid = spans(n, how.window, how.stride)
    pending: deque[tuple[Answer, int]] = deque()  # of each frame not yet given out: sums, of how many
    given = 0
    for k, (start, stop) in enumerate(laid):
        answer = views(frames.clip(start, stop))
        for t in range(stop - start):
            slot, own = start - given + t, _at(answer, t)
            if slot == len(pending):
                pending.append((own, 1))
            else:
                total, count = pending[slot]
                pending[slot] = (total._replace(probability=total.probability + own.probability), count + 1)
        whole = laid[k + 1][0] if k + 1 < len(laid) else n  # no later window sees a frame before this one
        for _ in range(whole - given):
            total, count = pending.popleft()
            yield total._replace(probability=total.probability / count)
        given = whole


def _at(answer: Answer, t: int) -> Answer:
    features = None if answer.features is None else answer.features[t]
    return answer._replace(probability=answer.probability[t], features=features)
