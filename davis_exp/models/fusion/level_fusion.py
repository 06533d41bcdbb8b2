"""What a fusion of two streams is, and what those that work level by level have in common."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

from davis_exp.models.levels import Levels


class Fusion(Protocol):
    """Two streams' features → one. Built with the keywords `appearance` and `motion`: the Levels of either.

    Maps are (N, C, h, w), one frame per N; level 0 is the finest that the streams share.
    """

    levels: Levels
    """What comes out; the strides stay."""
    between_stages: bool
    """Whether the streams must run stage by stage, each level passing through `transfer` on the way."""

    def transfer(self, level: int, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """What the next stage of either stream gets, and `__call__` then; only where `between_stages`."""

    def __call__(self, appearance: list[Tensor], motion: list[Tensor]) -> list[Tensor]:
        """All levels of both streams, fine → coarse → the levels that come out."""


class LevelFusion(nn.Module, ABC):
    """Merges each level by itself, in as many channels as appearance has.

    Motion is brought to them by a 1 × 1 convolution where it has others.

    Args:
        appearance, motion: levels of the two streams, at the same strides.
    """

    between_stages = False

    def __init__(self, *, appearance: Levels, motion: Levels) -> None:
        super().__init__()
        self.levels = appearance
        self.match = nn.ModuleList(
            nn.Identity() if a == m else nn.Conv2d(m, a, 1)
            for a, m in zip(appearance.channels, motion.channels, strict=True)
        )

    def forward(self, appearance: list[Tensor], motion: list[Tensor]) -> list[Tensor]:
        """As Fusion's."""
        levels = zip(appearance, motion, self.match, strict=True)
        return [self.merge(i, a, match(m)) for i, (a, m, match) in enumerate(levels)]

    @abstractmethod
    def merge(self, level: int, appearance: Tensor, motion: Tensor) -> Tensor:
        """One level of both streams (N, C, h, w) → one of the same shape."""
