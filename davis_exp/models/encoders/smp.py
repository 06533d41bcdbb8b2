"""Any encoder of segmentation_models_pytorch (smp)."""

import difflib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from davis_exp.models.encoders.frame_encoder import IMAGENET_MEAN, IMAGENET_STD, FrameEncoder
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
        from segmentation_models_pytorch.encoders import get_encoder, get_encoder_names  # late: takes seconds

        if not name.startswith("tu-") and name not in get_encoder_names():
            near = difflib.get_close_matches(name, get_encoder_names(), n=3)
            raise ValueError(
                f"name={name}: smp has no such encoder; near it are: {', '.join(near) or 'none'}"
            )
        options: dict[str, Any] = {"depth": depth, "output_stride": output_stride}
        try:
            net = get_encoder(name, weights=None, **options)
        except Exception as error:
            raise ValueError(f"name={name}: smp cannot build it with {options} ({summary(error)})") from error
        channels = net.out_channels
        # Level i of smp's is at stride 2^i. The first is the image itself; transformers leave 2^1 empty.
        indices = [i for i, c in enumerate(channels) if c > 0 and not (i == 0 and c == 3)]
        super().__init__(
            name,
            net,
            levels=Levels(
                tuple(channels[i] for i in indices), tuple(min(2**i, net.output_stride) for i in indices)
            ),
            weights=weights,
            frozen=frozen,
            mean=mean,
            std=std,
        )
        self._level_indices = indices
        self._options = options

    def features(self, images: Tensor) -> list[Tensor]:
        maps = self.net(images)
        return [maps[i] for i in self._level_indices]

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
        return tuple(nn.Sequential(*group) for group in groups[: len(self._level_indices)])

    def donor(self, weights: str) -> nn.Module:
        from segmentation_models_pytorch.encoders import get_encoder

        return get_encoder(self.name, weights=weights, **self._options)
