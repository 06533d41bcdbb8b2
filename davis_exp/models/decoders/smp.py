"""Decoders of segmentation_models_pytorch (smp), taking the levels that our encoders give."""

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.decoders.fold_time import fold
from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size
from davis_exp.models.segmenter import Prediction
from davis_exp.utils.arguments import check_positive

Ints = Sequence[int]


class SmpDecoder(nn.Module):
    """One of smp's decoders and a convolution to one channel of logits.

    smp's decoders find a level by its place in a list that starts with the image and halves the size at
    each step. `align` fills the places that an encoder leaves out with empty maps.

    Those below raise ValueError for levels that do not suit them, and for options that smp cannot take.
    """

    context = (0, 0)

    def __init__(self, decoder: nn.Module, width: int, kernel: int = 1, missing: Ints = ()) -> None:
        """`width`: channels that `decoder` gives; `missing`: strides at which it is given empty maps."""
        from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head

        super().__init__()
        self.decoder = decoder
        self.head = nn.Conv2d(width, 1, kernel, padding=kernel // 2)
        self.missing = tuple(missing)
        initialize_decoder(self.decoder)
        initialize_head(self.head)

    def forward(self, features: list[Tensor], size: Size) -> Prediction:
        """Features (B, t, C, h, w) per level → logits (B, T, 1, h, w) at the decoder's own finest size."""
        t, h, w = size
        logits = self.head(self.decoder(self.arrange(fold(features, t), h, w)))  # (B·T, 1, h, w)
        return Prediction(logits.unflatten(0, (-1, t)))

    def arrange(self, maps: list[Tensor], h: int, w: int) -> list[Tensor]:
        """Levels (N, C, h/s, w/s) → the list that smp's decoder expects."""
        return [maps[0].new_empty(len(maps[0]), 0, h // s, w // s) for s in self.missing] + maps


class Unet(SmpDecoder):
    """U-Net (Ronneberger et al., MICCAI 2015). `widths`: channels of its blocks, coarse → fine."""

    def __init__(
        self,
        *,
        inputs: Levels,
        widths: Ints = (256, 128, 64, 32, 16),
        attention: str | None = None,
    ) -> None:
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        channels, missing = align(type(self), inputs, first_stride=1)
        widths = block_widths(widths, len(channels) - 1)
        decoder = UnetDecoder(channels, widths, n_blocks=len(widths), attention_type=attention)
        super().__init__(decoder, widths[-1], kernel=3, missing=missing)


class UnetPlusPlus(SmpDecoder):
    """U-Net++ (Zhou et al., DLMIA 2018). `widths`: channels of its blocks, coarse → fine."""

    def __init__(
        self,
        *,
        inputs: Levels,
        widths: Ints = (256, 128, 64, 32, 16),
        attention: str | None = None,
    ) -> None:
        from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder

        # Its blocks cannot take empty levels: from an encoder that starts at stride 4, it ends at stride 2.
        channels, missing = align(type(self), inputs, first_stride=max(1, inputs.strides[0] // 2))
        widths = block_widths(widths, len(channels) - 1)
        decoder = UnetPlusPlusDecoder(channels, widths, n_blocks=len(widths), attention_type=attention)
        super().__init__(decoder, widths[-1], kernel=3, missing=missing)


class Linknet(SmpDecoder):
    """LinkNet (Chaurasia & Culurciello, VCIP 2017). `width`: channels of its last block."""

    def __init__(self, *, inputs: Levels, width: int = 32) -> None:
        from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder

        check_positive(width=width)
        channels, missing = align(
            type(self), inputs, first_stride=max(1, inputs.strides[0] // 2)
        )  # as U-Net++
        decoder = LinknetDecoder(channels, prefinal_channels=width, n_blocks=len(channels) - 1)
        super().__init__(decoder, width, missing=missing)


class FPN(SmpDecoder):
    """Panoptic FPN's head (Kirillov et al., CVPR 2019) on the four coarsest levels."""

    def __init__(
        self,
        *,
        inputs: Levels,
        pyramid: int = 256,
        width: int = 128,
        dropout: float = 0.2,
    ) -> None:
        from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

        check_positive(pyramid=pyramid, width=width)
        align(type(self), inputs, first_stride=inputs.strides[0], min_levels=4)
        decoder = FPNDecoder(
            list(inputs.channels), pyramid_channels=pyramid, segmentation_channels=width, dropout=dropout
        )
        super().__init__(decoder, width)


class Segformer(SmpDecoder):
    """SegFormer's all-MLP decoder (Xie et al., NeurIPS 2021)."""

    def __init__(self, *, inputs: Levels, width: int = 256) -> None:
        from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder

        check_positive(width=width)
        channels, missing = align(type(self), inputs, first_stride=1, required_stride=4)
        super().__init__(SegformerDecoder(channels, segmentation_channels=width), width, missing=missing)


class UPerNet(SmpDecoder):
    """UPerNet (Xiao et al., ECCV 2018)."""

    def __init__(self, *, inputs: Levels, width: int = 256) -> None:
        from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

        check_positive(width=width)
        channels, missing = align(type(self), inputs, first_stride=1, required_stride=4)
        super().__init__(UPerNetDecoder(channels, decoder_channels=width), width, missing=missing)


class DeepLabV3Plus(SmpDecoder):
    """DeepLabV3+ (Chen et al., ECCV 2018), on the stride-4 and the coarsest level.

    It is made for a coarsest stride of 16 or 8; the coarsest level of an encoder that is not dilated is
    brought to 16.
    """

    def __init__(
        self,
        *,
        inputs: Levels,
        width: int = 256,
        rates: Ints = (12, 24, 36),
        dropout: float = 0.5,
    ) -> None:
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

        check_positive(width=width)
        channels, strides = inputs.channels, inputs.strides
        if 4 not in strides or strides[-1] < 8:
            raise unsuitable(type(self), "a level at stride 4 and one at 8 or coarser", inputs)
        self.fine = strides.index(4)
        self.stride = 8 if strides[-1] == 8 else 16
        decoder = DeepLabV3PlusDecoder(
            (0, 0, channels[self.fine], channels[-1]),  # it looks at the third and the last only
            encoder_depth=5,
            out_channels=width,
            atrous_rates=rates,
            output_stride=self.stride,
            aspp_separable=True,
            aspp_dropout=dropout,
        )
        super().__init__(decoder, width)

    def arrange(self, maps: list[Tensor], h: int, w: int) -> list[Tensor]:
        fine, coarse = maps[self.fine], maps[-1]
        size = (h // self.stride, w // self.stride)
        if coarse.shape[-2:] != size:
            coarse = F.interpolate(coarse, size, mode="bilinear")
        return [fine, fine, fine, coarse]


def align(
    decoder: type,
    inputs: Levels,
    *,
    first_stride: int,
    min_levels: int = 2,
    required_stride: int | None = None,
) -> tuple[list[int], list[int]]:
    """Channels at strides `first_stride`, 2·`first_stride`, … and the strides of those that the encoder does not give.

    Raises:
        ValueError: strides do not double from level to level, there are fewer than `min_levels`, or the one at
            stride `required_stride` is not among them.
    """
    strides = inputs.strides
    doubling = all(coarse == 2 * fine for fine, coarse in itertools.pairwise(strides))
    power = strides[0] & (strides[0] - 1) == 0
    if (
        not (doubling and power)
        or len(strides) < min_levels
        or (required_stride is not None and required_stride not in strides)
    ):
        needs = f"at least {min_levels} levels, each at twice the stride of the one before"
        raise unsuitable(
            decoder,
            needs if required_stride is None else f"{needs}, one of them at {required_stride}",
            inputs,
        )
    scales = [first_stride]
    while scales[-1] < strides[-1]:
        scales.append(2 * scales[-1])
    given = dict(zip(strides, inputs.channels, strict=True))
    return [given.get(scale, 0) for scale in scales], [scale for scale in scales if scale not in given]


def unsuitable(decoder: type, needs: str, inputs: Levels) -> ValueError:
    """What a decoder answers to levels that do not suit it."""
    return ValueError(
        f"{decoder.__name__} needs {needs}, but is given strides {inputs.strides}: use the pixel decoder, which takes "
        "any, or another encoder"
    )


def block_widths(widths: Ints, count: int) -> list[int]:
    """The first `count` of `widths`, which are coarse → fine. Raises ValueError if there are fewer, or one below 1."""
    if len(widths) < count or min(widths[:count]) < 1:
        raise ValueError(
            f"widths must be {count} for this encoder's levels, coarse to fine, got {list(widths)}"
        )
    return list(widths[:count])
