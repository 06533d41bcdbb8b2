"""MATNet's decoder (Zhou et al., "Motion-Attentive Transition for Zero-Shot Video Object Segmentation",
AAAI 2020): it finds the object's boundary at every level, and refines the mask with it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.decoders.fold_time import fold
from davis_exp.models.decoders.smp import unsuitable
from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size
from davis_exp.models.segmenter import Prediction

DILATIONS = (3, 5, 7)
HEAD_WIDTH = 64
"""Channels inside a boundary head."""


class BoundaryDecoder(nn.Module):
    """Each level's boundary logit joins its features; a large context at the coarsest, then refinements.

    Its auxiliary logits are boundaries, one per level and "boundary" fused from them: losses hold heads of
    such names against the mask's boundary.

    Args:
        inputs: the levels that come in.
        width: channels throughout, a multiple of 4; 256 in the paper.

    Raises:
        ValueError: there is only one level, or `width` is no multiple of 4.
    """

    context = (0, 0)

    def __init__(
        self,
        *,
        inputs: Levels,
        width: int = 256,
    ) -> None:
        super().__init__()
        if len(inputs) < 2:
            raise unsuitable(type(self), "at least two levels", inputs)
        if width < 4 or width % 4:
            raise ValueError(f"width must be a multiple of 4, and at least 4, got {width}")
        channels = inputs.channels
        self.names = [f"boundary_{i}" for i in range(len(channels))]  # by level, 0 the finest
        self.boundaries = nn.ModuleList(boundary_head(c) for c in channels)
        self.fuse = nn.Conv2d(len(channels), 1, 3, padding=1)
        self.around = GlobalContext(channels[-1] + 1, width)
        self.refinements = nn.ModuleList(Refinement(c + 1, width) for c in channels[:-1])
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, features: list[Tensor], size: Size) -> Prediction:
        """Features (B, t, C, h, w) per level → logits (B, T, 1, h, w), all at the finest level's size."""
        maps = fold(features, size[0])
        edges = [boundary(level) for boundary, level in zip(self.boundaries, maps, strict=True)]
        maps = [torch.cat([level, edge], dim=1) for level, edge in zip(maps, edges, strict=True)]
        x = self.around(maps[-1])
        for refine, level in reversed(list(zip(self.refinements, maps[:-1], strict=True))):
            x = refine(level, x)
        edges = [F.interpolate(edge, x.shape[-2:], mode="bilinear") for edge in edges]
        aux = {"boundary": self.fuse(torch.cat(edges, dim=1)), **dict(zip(self.names, edges, strict=True))}
        return Prediction(self.head(F.relu(x)), aux).map(lambda logits: logits.unflatten(0, (-1, size[0])))


class Residual(nn.Module):
    """x + two 3 × 3 convolutions of it, each behind a ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class GlobalContext(nn.Module):
    """A 7 × 7 field in two separable halves (Peng et al., "Large Kernel Matters", CVPR 2017), refined."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        tall, wide = {"kernel_size": (7, 1), "padding": (3, 0)}, {"kernel_size": (1, 7), "padding": (0, 3)}
        self.left = nn.Sequential(nn.Conv2d(channels, width, **tall), nn.Conv2d(width, width, **wide))  # type: ignore[arg-type]
        self.right = nn.Sequential(nn.Conv2d(channels, width, **wide), nn.Conv2d(width, width, **tall))  # type: ignore[arg-type]
        self.refine = Residual(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) → (N, width, h, w)."""
        return self.refine(self.left(x) + self.right(x))


class Refinement(nn.Module):
    """A level seen at several dilations, plus what comes from the coarser one."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.pyramid = Pyramid(channels, width)
        self.skip = Residual(width)
        self.merge = Residual(width)

    def forward(self, level: Tensor, coarser: Tensor) -> Tensor:
        """Level (N, C, h, w) and (N, width, h/2, w/2) → (N, width, h, w)."""
        skip = self.skip(self.pyramid(level))
        return self.merge(skip + F.interpolate(coarser, skip.shape[-2:], mode="bilinear"))


class Pyramid(nn.Module):
    """A 1 × 1 convolution, and one 3 × 3 kernel at three dilations: a quarter of the channels each.

    The authors' code has a kernel per dilation but applies the first, thrice; one kernel at all three (as
    Huang et al., "See More Than Once", 2019) has its number of parameters, and the fields that were meant.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(channels, width // 4, 1)
        self.kernel = nn.Conv2d(channels, width // 4, 3)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) → (N, width, h, w)."""
        weight, bias = self.kernel.weight, self.kernel.bias
        dilated = [F.conv2d(x, weight, bias, padding=rate, dilation=rate) for rate in DILATIONS]
        return self.norm(torch.cat([self.point(x), *dilated], dim=1))


def boundary_head(channels: int) -> nn.Sequential:
    """(N, C, h, w) → logits (N, 1, h, w) of the object's boundary."""
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, HEAD_WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(HEAD_WIDTH),
        nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(HEAD_WIDTH, 1, 1),
    )
