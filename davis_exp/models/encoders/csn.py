"""Interaction-reduced channel-separated networks (Tran et al., "Video Classification with Channel-Separated
Convolutional Networks", ICCV 2019), the encoder of 3DC-Seg."""

from collections.abc import Sequence

from torch import Tensor, nn

from davis_exp.models.encoders.clip_encoder import ClipEncoder, context_of
from davis_exp.models.levels import Levels

BLOCKS = {50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 128, 256, 512)  # of the blocks' inner convolutions, by stage
EXPANSION = 4


class CSN(ClipEncoder):
    """irCSN-50 (12.3 M parameters) or irCSN-152 (28.9 M).

    Levels at strides 4, 8, 16 and 32, at which a clip of 8 frames has 8, 4, 2 and 1.

    Args:
        depth: 50 or 152.
        weights: None: the published ones (trained on IG-65M and Kinetics-400) come in no package.
        frozen: see FrameEncoder.
        frozen_norm: do not learn the scale and shift of normalisation, as 3DC-Seg trains (its batches are
            a clip or two); the statistics are the batch's all the same. Meant for pretrained weights.

    Raises:
        ValueError: another depth, or weights.
    """

    def __init__(
        self, depth: int = 152, weights: None = None, frozen: bool = False, frozen_norm: bool = False
    ) -> None:
        if depth not in BLOCKS:
            raise ValueError(f"depth must be 50 or 152, got {depth}")
        if weights is not None:
            raise ValueError(
                f"weights of irCSN need a download by hand: must be null (None), got {weights!r}"
            )
        blocks = BLOCKS[depth]
        super().__init__(
            f"irCSN-{depth}",
            ChannelSeparated(blocks, learn_norm=not frozen_norm),
            levels=Levels(tuple(EXPANSION * width for width in WIDTHS), (4, 8, 16, 32), (1, 2, 4, 8)),
            context=context_of(temporal_layers(blocks)),
            frozen=frozen,
        )


class ChannelSeparated(nn.Module):
    """(B, 3, T, H, W) → (B, 256·2^l, T/2^l, H/(4·2^l), W/(4·2^l)) for the stages l = 0 … 3.

    Args:
        blocks: bottlenecks in each stage.
        learn_norm: whether scale and shift of the normalisations are trained. Then each bottleneck starts
            as its shortcut (the scale after it is zero), which lets 50 of them be trained from scratch.
    """

    def __init__(self, blocks: Sequence[int], learn_norm: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *normalised(nn.Conv3d(3, WIDTHS[0], (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)),
            nn.ReLU(inplace=True),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        )
        self.stages = nn.ModuleList()
        channels = WIDTHS[0]
        for i, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
            stage = nn.Sequential()
            for k in range(count):
                stage.append(Bottleneck(channels, width, stride=2 if i and not k else 1))
                channels = EXPANSION * width
            self.stages.append(stage)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm3d) and not learn_norm:
                module.requires_grad_(False)
            elif isinstance(module, Bottleneck) and learn_norm:
                nn.init.zeros_(module.residual[-1].get_parameter("weight"))

    def forward(self, clip: Tensor) -> list[Tensor]:
        levels, x = [], self.stem(clip)  # (B, 64, T, H/4, W/4)
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class Bottleneck(nn.Module):
    """1 × 1 × 1 → depthwise 3 × 3 × 3 → 1 × 1 × 1 beside a shortcut: channels meet only in the pointwise ones."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.residual = nn.Sequential(
            *normalised(nn.Conv3d(channels, width, 1, bias=False)),
            nn.ReLU(inplace=True),
            *normalised(nn.Conv3d(width, width, 3, stride, padding=1, groups=width, bias=False)),
            nn.ReLU(inplace=True),
            *normalised(nn.Conv3d(width, out, 1, bias=False)),
        )
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != out:
            self.shortcut.extend(normalised(nn.Conv3d(channels, out, 1, stride, bias=False)))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))


def normalised(conv: nn.Conv3d) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
    """A convolution and the batch normalisation after it."""
    return conv, nn.BatchNorm3d(conv.out_channels)


def temporal_layers(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """(kernel, stride) along time of every layer that looks across frames."""
    strides = [2 if i and not k else 1 for i, count in enumerate(blocks) for k in range(count)]
    return [(3, 1), *((3, stride) for stride in strides)]
