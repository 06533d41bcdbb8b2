"""A weighted mean of the two streams, whose weights the network learns to set."""

import torch
from torch import Tensor, nn

from davis_exp.models.fusion.level_fusion import LevelFusion
from davis_exp.models.levels import Levels
from davis_exp.utils.arguments import check_positive


class Gated(LevelFusion):
    """At every position and channel g · appearance + (1 − g) · motion, with g read from both.

    Gated multimodal units (Arevalo et al., ICLR workshop 2017), convolutional, g behind a bottleneck.

    Args:
        appearance, motion: see LevelFusion.
        reduction: how many times narrower the bottleneck is than the level.

    Raises:
        ValueError: `reduction` is below 1.
    """

    def __init__(self, *, appearance: Levels, motion: Levels, reduction: int = 16) -> None:
        check_positive(reduction=reduction)
        super().__init__(appearance=appearance, motion=motion)
        self.gates = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * c, max(1, c // reduction), 1),
                nn.ReLU(),
                nn.Conv2d(max(1, c // reduction), c, 1),
                nn.Sigmoid(),
            )
            for c in appearance.channels
        )

    def merge(self, level: int, appearance: Tensor, motion: Tensor) -> Tensor:
        gate = self.gates[level](torch.cat([appearance, motion], dim=1))  # (N, C, h, w)
        return torch.lerp(motion, appearance, gate)
