"""Which sizes of image a library's network takes: any, as frames need it, or one of its own."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from davis_exp.models.empty import run_empty
from davis_exp.models.levels import Levels

ANY_SIZE: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""What families of timm's call "take images of any size"; the last know no such option."""


def build_for_any_size(
    create: Callable[..., nn.Module], options: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, told to take images of any size where it can be, and all options that it was made with.

    One that `options` tell of a size is left as they say.
    """
    told = {"img_size", "dynamic_img_size", "strict_img_size"} & options.keys()
    *free, plain = ANY_SIZE
    for extra in () if told else free:
        try:
            return create(**extra, **options), {**extra, **options}
        except TypeError:  # no such argument
            continue
    return create(**plain, **options), dict(options)


def own_size(name: str, chosen: int | Sequence[int] | None = None) -> tuple[int, int] | None:
    """The (H, W) that timm's network `name` is made for: the one `chosen`, or else that of its weights; None: unknown."""
    import timm

    trained = timm.get_pretrained_cfg(name)
    size = chosen or (trained.input_size[1:] if trained else None)
    return (size, size) if isinstance(size, int) else size and (int(size[0]), int(size[1]))


def only_size(
    net: nn.Module, maps: Callable[[Any], list[Tensor]], levels: Levels, own: tuple[int, int] | None
) -> tuple[int, int] | None:
    """The one (H, W) that `net` takes; None where it takes all that its strides divide, as a pass over shapes tells.

    Args:
        maps: what `net` returns → its levels.
        own: the size it was made for, tried where another is refused.

    Raises:
        ValueError: its levels have other channels than it declares.
    """

    def takes(size: tuple[int, int]) -> bool:
        try:
            found = maps(run_empty(net, torch.empty(1, 3, *size, device="meta")))
        except Exception:  # each family has its own words, or shapes that do not fit
            return False
        channels = tuple(level.shape[1] for level in found)
        if channels != levels.channels:
            raise ValueError(f"its levels have {channels} channels, not {levels.channels}")
        return True

    stride = math.lcm(*levels.strides)
    if takes((5 * stride, 11 * stride)) or own is None:  # a grid that no window divides
        return None
    return own if takes(own) else None
