"""How fast this machine is: a few compositions of ours are run on it, and their operators timed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from davis_exp import budget
from davis_exp.budget import speed
from davis_exp.experiment import build

COMPOSITIONS: Sequence[tuple[tuple[int, int], tuple[str, ...]]] = (
    (budget.FRAME, ("encoder=efficientnet_lite0", "decoder=unet")),
    (budget.FRAME, ("encoder=mobilenetv3", "decoder=fpn", "temporal=conv_gru")),
    (budget.FRAME, ("encoder=mit_b0", "decoder=segformer")),
    (budget.FRAME, ("encoder=resnet18", "decoder=linknet", "temporal=shift")),
    (budget.FRAME, ("encoder=convnext_tiny", "decoder=fpn_light")),
    (budget.FRAME, ("encoder=swin_tiny", "decoder=pixel")),
    (budget.FRAME, ("encoder=mobilenetv4", "decoder=deeplabv3plus", "temporal=memory")),
    ((240, 427), ("encoder=resnet18", "decoder=unetplusplus", "temporal=attention")),
    ((120, 214), ("encoder=csn50", "decoder=refine3d_light", "inference.window=8")),
)
"""(height, width) of the frames, and overrides. Every kind of operator is in one of them."""


def measure_machine(
    compose: Callable[[list[str]], DictConfig], progress: Callable[[int, int], None] | None = None
) -> speed.Speed:
    """The factors of this machine, measured now."""
    measured = []
    for i, (size, overrides) in enumerate(COMPOSITIONS):
        cfg = compose([*overrides, "budget=none"])
        measured.append(measure_model(build.build_model(cfg).eval(), cfg, size))
        if progress:
            progress(i + 1, len(COMPOSITIONS))
    return speed.fit(measured)


def measure_model(
    model: nn.Module, cfg: Mapping[str, Any], size: tuple[int, int] = budget.FRAME, *, rounds: int = 3
) -> speed.Timed:
    """What one call of `model` takes on this machine, on frames of `size`, as inference runs it."""
    how = build.inference(cfg)
    length, _ = budget.clip(getattr(model, "context", None), how.window, how.stride)
    frames = torch.rand(1, length, 3, *size, generator=torch.Generator().manual_seed(0))
    return speed.timed(model, budget.inputs(model, frames), rounds=rounds)
