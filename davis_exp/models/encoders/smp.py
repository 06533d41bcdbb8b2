"""Any encoder of segmentation_models_pytorch (smp)."""

import difflib
import functools
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from davis_exp.models.encoders.frame_encoder import IMAGENET_MEAN, IMAGENET_STD, FrameEncoder
from davis_exp.models.encoders.input_size import build_for_any_size, only_size, own_size
from davis_exp.models.encoders.weights import summary
from davis_exp.models.levels import Levels


class SmpEncoder(FrameEncoder):
    """An smp encoder without the maps that are no features: the image itself, and empty ones.

    Args:
        name: smp's name ("resnet50", "mit_b2").
        weights: None, or what smp calls them ("imagenet").
        frozen, mean, std: see FrameEncoder; smp's own weights use ImageNet's statistics with few exceptions.
        depth: how many times to halve the size, 1 to 5.
        output_stride: 16 or 8 dilates the coarsest stages instead, where the encoder can.

    Raises:
        ValueError: smp has no such encoder, or cannot build it with these options.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        frozen: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        depth: int = 5,
        output_stride: int = 32,
    ) -> None:
        from segmentation_models_pytorch import encoders  # late: it takes seconds

        options: dict[str, Any] = {"depth": depth, "output_stride": output_stride}
        net: Any
        try:
            net, made_with = build_for_any_size(functools.partial(_create, name), options)
            channels = net.out_channels
            # Level i of smp's is at stride 2^i. The first is the image itself; transformers leave 2^1 empty.
            indices = [i for i, c in enumerate(channels) if c > 0 and not (i == 0 and c == 3)]
            levels = Levels(
                tuple(channels[i] for i in indices), tuple(min(2**i, net.output_stride) for i in indices)
            )
            maps = functools.partial(_picked, indices)
            own = own_size(net.name) if isinstance(net, encoders.TimmUniversalEncoder) else None
            image_size = only_size(net, maps, levels, own)
        except Exception as error:
            if isinstance(error, KeyError) and name not in encoders.get_encoder_names():
                near = difflib.get_close_matches(name, encoders.get_encoder_names(), n=3)
                raise ValueError(
                    f"name={name}: smp has no such encoder; near it are: {', '.join(near) or 'none'}"
                ) from error
            raise ValueError(f"name={name}: smp cannot build it with {options} ({summary(error)})") from error
        super().__init__(
            name,
            net,
            levels=levels,
            weights=weights,
            frozen=frozen,
            mean=mean,
            std=std,
            image_size=image_size,
        )
        self._maps = maps
        self._options = made_with

    def features(self, images: Tensor) -> list[Tensor]:
        return self._maps(self.net(images))

    @property
    def stages(self) -> tuple[nn.Module, ...] | None:
        """Of ResNets and Mix Transformers; see FrameEncoder."""
        from segmentation_models_pytorch.encoders.mix_transformer import MixVisionTransformerEncoder
        from segmentation_models_pytorch.encoders.resnet import ResNetEncoder

        net: Any = self.net
        if isinstance(net, ResNetEncoder):
            stem, first = (net.conv1, net.bn1, net.relu), (net.maxpool, net.layer1)
            groups = [stem, first, (net.layer2,), (net.layer3,), (net.layer4,)]
        elif isinstance(net, MixVisionTransformerEncoder):
            parts = ("patch_embed", "block", "norm")
            groups = [tuple(getattr(net, f"{part}{i}") for part in parts) for i in (1, 2, 3, 4)]
        else:
            return None
        return tuple(nn.Sequential(*group) for group in groups[: len(self.levels)])

    def donor(self, weights: str) -> nn.Module:
        return _create(self.name, weights=weights, **self._options)


def _create(name: str, weights: str | None = None, **options: Any) -> nn.Module:
    """smp's encoder, without its word on names that it has others for by now ("timm-regnetx_002")."""
    from segmentation_models_pytorch.encoders import get_encoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return get_encoder(name, weights=weights, **options)


def _picked(indices: list[int], maps: list[Tensor]) -> list[Tensor]:
    return [maps[i] for i in indices]
