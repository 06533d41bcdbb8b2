"""A weighted mean of the two streams, whose weights the network learns to set."""

import torch
from torch import Tensor, nn

from davis_exp.models.fusion.base import Ints, LevelFusion


class Gated(LevelFusion):
    """At every position and channel g · appearance + (1 − g) · motion, with g read from both.

    Gated multimodal units (Arevalo et al., ICLR workshop 2017), convolutional, g behind a bottleneck.

    Args:
        channels, motion_channels, strides: see LevelFusion.
        reduction: how many times narrower the bottleneck is than the level.
    """

    def __init__(self, *, channels: Ints, motion_channels: Ints, strides: Ints, reduction: int = 16) -> None:
        super().__init__(channels=channels, motion_channels=motion_channels, strides=strides)
        self.gates = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * c, max(1, c // reduction), 1),
                nn.ReLU(),
                nn.Conv2d(max(1, c // reduction), c, 1),
                nn.Sigmoid(),
            )
            for c in channels
        )

    def merge(self, level: int, appearance: Tensor, motion: Tensor) -> Tensor:
        gate = self.gates[level](torch.cat([appearance, motion], dim=1))  # (N, C, h, w)
        return torch.lerp(motion, appearance, gate)
