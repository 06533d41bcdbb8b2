"""A model asked about the same frames in several ways: mirrored, at several scales, with several motions or none."""

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.inference.frames import Clip
from davis_exp.inference.settings import Inference
from davis_exp.models.segmenter import Features
from davis_exp.utils.errors import BadInput

STILL = -1  # in the place of one of the motions: the frames are their own
CERTAIN = 0.1  # TMO: probabilities below this speak of a confident background


class Answer(NamedTuple):
    """Probabilities (…, h, w), and the features (…, C, rows, columns) of what they are of, one for `stride` pixels."""

    probability: Tensor
    features: Tensor | None = None
    stride: float = 1.0


class Views:
    """A model asked about a clip in several ways, each with a state of its own, the answers made one."""

    def __init__(self, model: nn.Module, how: Inference) -> None:
        self.model = model
        motions = [*range(len(how.flow_gaps or (None,))), *([STILL] if how.select_motion else [])]
        # Of several gaps every other one sees the clip mirrored, which costs no more.
        self._views = [
            (scale, flipped != (which in range(1, len(motions), 2)), which)
            for scale, flipped, which in product(how.scales, (False, True)[: 1 + how.flip], motions)
        ]
        self._features = how.consensus > 0
        self._states: list[tuple[Tensor, ...] | None] = [None] * len(self._views)

    @torch.inference_mode()
    def __call__(self, clip: Clip) -> Answer:
        """The answer (T, …) to the next clip; with features, those of the first view, where they are asked for.

        Raises BadInput where they are, and the model gives none.
        """
        answers: dict[bool, list[Tensor]] = {}
        seen: Features | None = None
        for k, (scale, mirrored, which) in enumerate(self._views):
            if which > 0 and which >= len(clip.motion):
                continue  # frames that are their own motion are so at every gap
            frames, motion = self._see(clip, scale, mirrored, which)
            prediction, state = self.model(frames, motion, self._states[k])
            if self.model.context is None:
                self._states[k] = state
            if k == 0 and self._features:
                seen = prediction.features
            probability = prediction.logits[0].float().sigmoid()  # (T, 1, h', w')
            if mirrored:
                probability = probability.flip(-1)
            answers.setdefault(which == STILL, []).append(_resized(probability, clip.frames.shape[-2:])[:, 0])
        means = [torch.stack(same).mean(0) for same in answers.values()]
        probability = means[0] if len(means) == 1 else more_confident(*means)
        if not self._features:
            return Answer(probability)
        if seen is None:
            raise BadInput(
                "inference.consensus: this model gives no features of its frames; leave it out, or if it is an exported "
                "one, export it again with inference.consensus=…"
            )
        return Answer(probability, seen.values[0], seen.stride / self._views[0][0])

    @staticmethod
    def _see(clip: Clip, scale: float, mirrored: bool, which: int) -> tuple[Tensor, Tensor | None]:
        frames = clip.frames.flip(-1) if mirrored else clip.frames
        motions = clip.mirrored_motion if mirrored else clip.motion
        motion = frames if which == STILL else motions[which] if motions else None
        if scale != 1:
            size = tuple(max(1, round(side * scale)) for side in frames.shape[-2:])
            frames = _resized(frames[0], size)[None]
            motion = None if motion is None else _resized(motion[0], size)[None]
        return frames, motion


def _resized(images: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    if images.shape[-2:] == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False, antialias=True)


def more_confident(one: Tensor, other: Tensor) -> Tensor:
    """Of each frame (T, h, w), the answer whose background is the surer: TMO's choice between its two outputs."""
    sure = [(CERTAIN - answer).clamp(min=0).flatten(1).norm(dim=1) for answer in (one, other)]
    return torch.where((sure[0] >= sure[1])[:, None, None], one, other)
