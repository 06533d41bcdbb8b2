"""HFAN's fusion (Pei et al., "Hierarchical Feature Alignment Network for Unsupervised Video Object
Segmentation", ECCV 2022): both streams are described by the same object prototypes, then weighed."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.fusion.level_fusion import LevelFusion
from davis_exp.models.levels import Levels
from davis_exp.utils.arguments import check_positive

PROTOTYPES = 2
"""Primary object and background."""


class Aligned(LevelFusion):
    """Alignment and gate at every level.

    Args:
        appearance, motion: see LevelFusion.
        width: channels in which positions are compared to prototypes, and of the gate's bottlenecks.

    Raises:
        ValueError: `width` is below 1.
    """

    def __init__(self, *, appearance: Levels, motion: Levels, width: int = 16) -> None:
        check_positive(width=width)
        super().__init__(appearance=appearance, motion=motion)
        self.alignments = nn.ModuleList(Alignment(c, width) for c in appearance.channels)
        self.gates = nn.ModuleList(Gate(c, width) for c in appearance.channels)

    def merge(self, level: int, appearance: Tensor, motion: Tensor) -> Tensor:
        return self.gates[level](*self.alignments[level](appearance, motion))


class Alignment(nn.Module):
    """Prototypes pooled from appearance; both streams look up, at each position, the one that fits.

    Object-contextual representations (Yuan et al., ECCV 2020) with one set of weights for both streams. The
    soft maps that pool the prototypes have no target of their own: the mask's loss shapes them.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.regions = nn.Conv2d(channels, PROTOTYPES, 1)
        self.query = nn.Sequential(*unit(channels, width), *unit(width, width))
        self.key = nn.Sequential(*unit(channels, width), *unit(width, width))
        self.value = nn.Sequential(*unit(channels, width))
        self.out = nn.Sequential(*unit(width, channels))
        self.join = nn.Sequential(*unit(2 * channels, channels))

    def forward(self, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Two maps (N, C, h, w) → the same two, aligned."""
        weights = self.regions(appearance).flatten(2).softmax(dim=2)  # (N, prototypes, h·w)
        prototypes = (appearance.flatten(2) @ weights.transpose(1, 2)).unsqueeze(-1)  # (N, C, prototypes, 1)
        keys, values = self.key(prototypes).flatten(2), self.value(prototypes).flatten(2)
        return self.describe(appearance, keys, values), self.describe(motion, keys, values)

    def describe(self, features: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        queries = self.query(features).flatten(2)  # (N, width, h·w)
        fit = (keys.transpose(1, 2) @ queries / self.width**0.5).softmax(dim=1)  # (N, prototypes, h·w)
        context = self.out((values @ fit).unflatten(2, features.shape[2:]))
        return self.join(torch.cat([context, features], dim=1))


class Gate(nn.Module):
    """2 (w · appearance + (1 − w) · motion), w from their sum: at each position, and over the whole map.

    The whole map's branch has no batch normalisation, which cannot train on a batch of one frame.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.local = nn.Sequential(*unit(channels, width), *unit(width, channels)[:2])
        self.whole = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, channels, 1))

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """Two maps (N, C, h, w) → one."""
        both = appearance + motion
        weight = torch.sigmoid(self.local(both) + self.whole(F.adaptive_avg_pool2d(both, 1)))
        return 2 * torch.lerp(motion, appearance, weight)


def unit(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """A 1 × 1 convolution, batch normalisation and ReLU."""
    return nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
