"""Any timm model that gives a pyramid of features."""

import difflib
from typing import Any

from torch import Tensor, nn

from davis_exp.models.encoders.frame_encoder import IMAGENET_MEAN, IMAGENET_STD, FrameEncoder
from davis_exp.models.encoders.input_size import build_for_any_size, only_size, own_size
from davis_exp.models.encoders.weights import summary
from davis_exp.models.levels import Levels


class TimmEncoder(FrameEncoder):
    """A timm model with `features_only`, told to take images of any size where it can be.

    One that takes a single size is given frames resized to it: `img_size`, or that of its weights.

    Args:
        name: timm's name of the architecture ("convnext_tiny").
        weights: None; "imagenet" for the model's default weights; or the tag of others ("fb_in22k").
        frozen: see FrameEncoder.
        **options: passed on to `timm.create_model` (`output_stride`, `out_indices`, …).

    Raises:
        ValueError: timm has no such model, or cannot take features from it.
    """

    def __init__(self, name: str, weights: str | None = None, frozen: bool = False, **options: Any) -> None:
        import timm  # late: it takes seconds, and only some encoders need it

        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=3)
            raise ValueError(f"name={name}: timm has no such model; near it are: {', '.join(near) or 'none'}")
        trained = timm.get_pretrained_cfg(name)

        def create(**given: Any) -> nn.Module:
            return timm.create_model(name, features_only=True, pretrained=False, **given)

        net: Any
        try:
            net, options = build_for_any_size(create, options)
            maps = _channels_first if getattr(net, "output_fmt", "NCHW") == "NHWC" else list
            levels = Levels(tuple(net.feature_info.channels()), tuple(net.feature_info.reduction()))
            image_size = only_size(net, maps, levels, own_size(name, options.get("img_size")))
        except Exception as error:
            raise ValueError(
                f"name={name}: timm cannot take features from it, options {options} ({summary(error)})"
            ) from error
        super().__init__(
            name,
            net,
            levels=levels,
            weights=weights,
            frozen=frozen,
            mean=trained.mean if trained else IMAGENET_MEAN,
            std=trained.std if trained else IMAGENET_STD,
            image_size=image_size,
        )
        self._options = options
        self._maps = maps

    def features(self, images: Tensor) -> list[Tensor]:
        return self._maps(self.net(images))

    @property
    def stages(self) -> tuple[nn.Module, ...] | None:
        """Of networks that timm runs as a list of modules, and of its EfficientNet and MobileNet families."""
        from timm.models import FeatureListNet
        from timm.models.efficientnet import EfficientNetFeatures
        from timm.models.mobilenetv3 import MobileNetV3Features

        net: Any = self.net
        if self.image_size is not None or self._maps is _channels_first:
            return None
        if isinstance(net, FeatureListNet):
            return _grouped(list(net.values()), [name in net.return_layers for name in net])
        if isinstance(net, EfficientNetFeatures | MobileNetV3Features) and net.feature_hooks is None:
            # Level 0 may be the stem's; level i + 1 is that of block i.
            stem = nn.Sequential(*(part for name, part in net.named_children() if name != "blocks"))
            return _grouped(
                [stem, *net.blocks], [i in net._stage_out_idx for i in range(1 + len(net.blocks))]
            )
        return None

    def donor(self, weights: str) -> nn.Module:
        import timm

        name = self.name if weights == "imagenet" else f"{self.name.split('.')[0]}.{weights}"
        return timm.create_model(name, features_only=True, pretrained=True, **self._options)


def _channels_first(maps: list[Tensor]) -> list[Tensor]:
    """Maps (N, h, w, C) → (N, C, h, w)."""
    return [level.permute(0, 3, 1, 2).contiguous() for level in maps]


def _grouped(modules: list[nn.Module], ends: list[bool]) -> tuple[nn.Module, ...]:
    """Group modules that run in order so that each group closes with one that gives a level."""
    groups, group = [], []
    for module, end in zip(modules, ends, strict=True):
        group.append(module)
        if end:
            groups.append(nn.Sequential(*group))
            group = []
    return tuple(groups)
