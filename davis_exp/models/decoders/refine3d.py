"""The decoder of 3DC-Seg (Mahadevan et al., "Making a Case for 3D Convolutions for Object Segmentation in
Videos", BMVC 2020): global convolution at the coarsest level, then refinement level by level, all in 3-D."""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.decoders.fold_time import at_every_frame
from davis_exp.models.decoders.smp import unsuitable
from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size
from davis_exp.models.segmenter import Prediction
from davis_exp.utils.arguments import check_positive

Conv = Callable[[int, int], nn.Module]
FINEST_STRIDE = (
    4  # finer levels are left out: at `width` channels they would cost more than all others together
)


class Refine3d(nn.Module):
    """Context at the coarsest level, refined by each finer one down to stride 4.

    With irCSN-152 this is 3DC-Seg: 45.4 M parameters in the decoder, or 13.2 M in the light one.

    Args:
        inputs: the levels that come in.
        width: channels of all its maps.
        light: refine with pointwise and depthwise convolutions in place of full ones.

    Raises:
        ValueError: there are fewer than two levels at stride 4 or coarser, or `width` is below 1.
    """

    def __init__(
        self,
        *,
        inputs: Levels,
        width: int = 256,
        light: bool = False,
    ) -> None:
        check_positive(width=width)
        super().__init__()
        self.skipped = sum(stride < FINEST_STRIDE for stride in inputs.strides)
        if len(inputs) - self.skipped < 2:
            needs = f"at least two levels at stride {FINEST_STRIDE} or coarser"
            raise unsuitable(type(self), needs, inputs)
        *skips, coarsest = inputs.channels[self.skipped :]
        conv: Conv = separable if light else full
        self.context_branch = GlobalConvolution(coarsest, width)
        self.context_residual = residual(full, width)
        self.refine = nn.ModuleList(Refinement(c, width, conv) for c in reversed(skips))  # coarse → fine
        self.head = full(width, 1)
        self.context = _context(inputs.temporal_strides[self.skipped :])

    def forward(self, features: list[Tensor], size: Size) -> Prediction:
        """Features (B, t, C, h, w) per level → logits (B, T, 1, h, w) at the size of the finest level used."""
        *skips, coarsest = [level.transpose(1, 2) for level in features[self.skipped :]]  # (B, C, t, h, w)
        x = self.context_branch(coarsest)  # (B, width, t, h, w)
        x = x + self.context_residual(x)
        for refine, skip in zip(self.refine, reversed(skips), strict=True):
            x = refine(skip, x)
        logits = self.head(F.relu(x)).transpose(1, 2)  # (B, t, 1, h, w)
        return Prediction(at_every_frame(logits, size[0]))


class GlobalConvolution(nn.Module):
    """A large kernel within the frame as two pairs of lines, summed (Peng et al., CVPR 2017)."""

    def __init__(self, channels: int, width: int, kernel: int = 7) -> None:
        super().__init__()
        column, row = (1, kernel, 1), (1, 1, kernel)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(channels, width, first, padding="same"),
                nn.Conv3d(width, width, second, padding="same"),
            )
            for first, second in ((column, row), (row, column))
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = (branch(x) for branch in self.branches)
        return left + right


class Refinement(nn.Module):
    """A level's features and the map so far, enlarged to them → the map at that level."""

    def __init__(self, channels: int, width: int, conv: Conv) -> None:
        super().__init__()
        self.enter = conv(channels, width)
        self.skip_residual = residual(conv, width)
        self.merged_residual = residual(conv, width)

    def forward(self, skip: Tensor, previous: Tensor) -> Tensor:
        """(B, C, t, h, w) and (B, width, t', h', w') → (B, width, t, h, w)."""
        s = self.enter(skip)
        s = s + self.skip_residual(s)
        m = s + F.interpolate(previous, s.shape[-3:], mode="trilinear")
        return m + self.merged_residual(m)


def full(channels: int, width: int) -> nn.Module:
    """A 3 × 3 × 3 convolution."""
    return nn.Conv3d(channels, width, 3, padding=1)


def separable(channels: int, width: int) -> nn.Module:
    """The light one: 1 × 1 × 1, then depthwise 3 × 3 × 3."""
    return nn.Sequential(
        nn.Conv3d(channels, width, 1), nn.ReLU(), nn.Conv3d(width, width, 3, padding=1, groups=width)
    )


def residual(conv: Conv, width: int) -> nn.Sequential:
    """The branch that is added to its own input."""
    # Not in place: the input is also the shortcut.
    return nn.Sequential(nn.ReLU(), conv(width, width), nn.ReLU(inplace=True), conv(width, width))


def _context(temporal_strides: Sequence[int]) -> tuple[int, int]:
    """Frames that can reach one output: on the longest way, all convolutions and interpolations along time."""
    *skips, coarsest = temporal_strides
    reach, last = 2 * coarsest, coarsest
    for stride in reversed(skips):
        reach += _interpolation(last, stride)
        reach = max(reach, 3 * stride) + 2 * stride  # the skip's own convolutions, then the merged map's
        last = stride
    reach += last + _interpolation(last, 1)  # the head, and its logits at every frame
    reach += coarsest - 1  # frames that share a map at the coarsest level
    return reach, reach


def _interpolation(coarse: int, fine: int) -> int:
    """Frames that a linear interpolation between levels at these temporal strides looks across."""
    return coarse if fine < coarse else 0
