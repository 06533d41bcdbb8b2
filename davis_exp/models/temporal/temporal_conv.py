"""Factorised convolutions over time: space, time and channels are mixed one after the other."""

from collections.abc import Sequence

from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import State
from davis_exp.models.temporal.levelwise import Cell, LevelwiseTemporal
from davis_exp.utils.arguments import check_positive


class TemporalConv(LevelwiseTemporal):
    """Depthwise convolutions in 3-D on each chosen level, beside a shortcut.

    A k × 3 × 3 convolution is factorised as in R(2+1)D (Tran et al., CVPR 2018), and separated from the
    channels' mixing as in CSN (Tran et al., ICCV 2019): 12 parameters a channel in place of 27·C.

    Args:
        inputs, levels: see LevelwiseTemporal.
        width: channels of the convolutions.
        kernel: frames each of them sees, odd.
        layers: how many follow each other; each looks kernel // 2 frames further.

    Raises:
        ValueError: an option is below 1, or `kernel` is even; or as LevelwiseTemporal.
    """

    def __init__(
        self,
        *,
        inputs: Levels,
        width: int = 128,
        levels: Sequence[int] = (-1,),
        kernel: int = 3,
        layers: int = 2,
    ) -> None:
        check_positive(width=width, kernel=kernel, layers=layers)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a frame is at its middle, got {kernel}")
        super().__init__(
            inputs=inputs,
            levels=levels,
            cell=lambda c: ConvCell(c, width, kernel, layers),
        )


class ConvCell(Cell):
    """A bottleneck around factorised convolutions: (B, T, C, h, w) → the same shape."""

    def __init__(self, channels: int, width: int, kernel: int, layers: int) -> None:
        super().__init__()
        self.channels = channels
        self.context = (layers * (kernel // 2),) * 2
        self.reduce = pointwise(channels, width)
        self.space = nn.ModuleList(depthwise(width) for _ in range(layers))
        # On (B, width, T, h·w): many times faster than a k × 1 × 1 convolution in 3-D on a CPU.
        self.time = nn.ModuleList(
            nn.Conv2d(width, width, (kernel, 1), padding=(kernel // 2, 0), groups=width, bias=False)
            for _ in range(layers)
        )
        self.mixes = nn.ModuleList(pointwise(width, width) for _ in range(layers))
        self.expand = nn.Conv2d(width, channels, 1)

    def forward(self, level: Tensor, state: State) -> tuple[Tensor, State]:
        batch, (height, width) = level.shape[:2], level.shape[-2:]
        x = self.reduce(level.flatten(0, 1))  # (B·T, width, h, w)
        for space, time, mixing in zip(self.space, self.time, self.mixes, strict=True):
            columns = space(x).unflatten(0, batch).transpose(1, 2).flatten(3)  # (B, width, T, h·w)
            x = time(columns).transpose(1, 2).flatten(0, 1).unflatten(-1, (height, width))
            x = mixing(x)  # (B·T, width, h, w)
        return level + self.expand(x).unflatten(0, batch), state


def depthwise(width: int) -> nn.Conv2d:
    """A depthwise 3 × 3 convolution."""
    return nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)


def pointwise(channels: int, width: int) -> nn.Sequential:
    """A pointwise convolution, normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
