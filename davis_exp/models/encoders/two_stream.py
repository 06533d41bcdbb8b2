"""Two encoders side by side, one for frames and one for motion, and what merges their features."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from davis_exp.models.encoders.weights import is_trained_here, load_trained
from davis_exp.models.fusion.level_fusion import Fusion
from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import Encoder
from davis_exp.utils.arguments import refused_by


class TwoStreamEncoder(nn.Module):
    """Frames through one encoder, motion pictures through another or the same; their levels merged.

    Args:
        appearance, motion: built encoders, whose levels must be at the same strides from `finest` on. The
            motion encoder is unused, and may be None, where the trunk is shared.
        fusion: a factory, called with `appearance` and `motion`: those Levels of either stream.
        shared: both inputs go through `appearance`, in one batch.
        finest: stride of the finest level to merge; finer ones are not given.
        frozen: no gradients, and evaluation mode throughout, for both streams and the fusion.
        weights: zoo/NAME for the whole encoder of a model that ships; None for what each stream was told.

    Raises:
        ValueError: the streams and the fusion cannot work together; says which to change.
    """

    needs_motion = True

    def __init__(
        self,
        appearance: Encoder,
        motion: Encoder | None,
        fusion: Callable[..., Fusion],
        shared: bool = False,
        finest: int = 4,
        frozen: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if weights is not None and not is_trained_here(weights):
            raise ValueError(
                f"weights must be zoo/NAME or null (None), got {weights!r}; each stream has weights of its own"
            )
        if isinstance(fusion, nn.Module):
            raise ValueError(
                "fusion: already built; a factory (_partial_: true) is needed, to be told the levels"
            )
        if motion is None and not shared:
            raise ValueError("motion: there is none; choose an encoder for it, or set shared=true")
        self.appearance = appearance
        self.motion = None if shared else motion
        streams = {"appearance": appearance, "motion": self.motion or appearance}
        levels = []
        for name, stream in streams.items():
            with refused_by(name, type(stream)):
                levels.append(Levels.of(stream))
            if stream.needs_motion:
                raise ValueError(f"{name}: it needs motion itself; choose an encoder of single frames")
        # Either stream may have its own number of levels that are finer than `finest`.
        self._finer_levels = [sum(stride < finest for stride in given.strides) for given in levels]
        sizes = [
            (given.strides[skip:], given.temporal_strides[skip:])
            for given, skip in zip(levels, self._finer_levels, strict=True)
        ]
        if sizes[0] != sizes[1] or not sizes[0][0]:
            raise ValueError(
                f"appearance and motion must have levels at the same strides, {finest} (finest) or coarser, but have "
                f"{levels[0].strides} and {levels[1].strides}: change one of them"
            )
        self.context = _widest([stream.context or (0, 0) for stream in streams.values()])
        with refused_by("fusion", fusion):
            self.fusion = fusion(
                appearance=levels[0][self._finer_levels[0] :], motion=levels[1][self._finer_levels[1] :]
            )
        self.levels = Levels.of(self.fusion)
        for name, stream in streams.items() if self.fusion.between_stages else ():
            if getattr(stream, "stages", None) is None:
                label = getattr(stream, "name", type(stream).__name__)
                raise ValueError(
                    f"fusion: {type(self.fusion).__name__} works between the stages of both streams, but {name} "
                    f"({label}) has no `stages`: use a ResNet or a MiT there, or a fusion that merges level by level"
                )
        self.weights = weights
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            self.train()

    @property
    def mean(self) -> Any:
        """RGB statistics of the frames' encoder; the motion encoder has its own."""
        return self.appearance.mean

    @property
    def std(self) -> Any:
        """See `mean`."""
        return self.appearance.std

    def load_weights(self) -> None:
        """Fill in the pretrained weights of both streams, if any. Raises ValueError if they cannot be had."""
        if self.weights is not None:
            load_trained(self, self.weights)
            return
        for name, stream in (("appearance", self.appearance), ("motion", self.motion)):
            if stream is not None:
                with refused_by(name, type(stream)):
                    stream.load_weights()

    def forward(self, frames: Tensor, motion: Tensor | None) -> list[Tensor]:
        """Frames and motion (B, T, 3, H, W) in [0, 1] → one (B, T, C, H/s, W/s) per merged level.

        Raises ValueError if there is no motion.
        """
        if motion is None:
            raise ValueError("motion is needed: pictures of it, as many and as large as the frames")
        if self.fusion.between_stages:
            return self._unfold(self.fusion(*self._stage_by_stage(frames, motion)), frames)
        if self.motion is None:
            both = [level.chunk(2) for level in self.appearance(torch.cat([frames, motion]), None)]
            streams = [[level[i] for level in both] for i in (0, 1)]
        else:
            streams = [self.appearance(frames, None), self.motion(motion, None)]
        first, second = (
            [level.flatten(0, 1) for level in levels[skip:]]
            for levels, skip in zip(streams, self._finer_levels, strict=True)
        )
        return self._unfold(self.fusion(first, second), frames)

    def _stage_by_stage(self, frames: Tensor, motion: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The merged levels of both streams, (B·T, C, h, w) each, the fusion acting after each stage."""
        maps, stages = [], []
        trunks: list[Any] = [self.appearance, self.motion or self.appearance]
        for trunk, pictures, skip in zip(trunks, (frames, motion), self._finer_levels, strict=True):
            x, own = trunk.normalise(pictures), trunk.stages
            for stage in own[:skip]:
                x = stage(x)
            maps.append(x)
            stages.append(own[skip:])
        first, second = [], []
        a, m = maps
        for level, (appear, move) in enumerate(zip(*stages, strict=True)):
            a, m = self.fusion.transfer(level, appear(a), move(m))
            first.append(a)
            second.append(m)
        return first, second

    def _unfold(self, maps: list[Tensor], frames: Tensor) -> list[Tensor]:
        return [level.unflatten(0, (len(frames), -1)) for level in maps]

    def train(self, mode: bool = True) -> "TwoStreamEncoder":
        """As nn.Module.train, but a frozen encoder stays in evaluation mode."""
        return super().train(mode and not self.frozen)


def _widest(contexts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The context of parts that see the same frames: the widest on either side."""
    past, future = zip(*contexts, strict=True)
    return max(past), max(future)
