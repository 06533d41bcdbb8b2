"""How a decoder of single images sees a clip."""

import torch.nn.functional as F
from torch import Tensor


def fold(features: list[Tensor], frames: int) -> list[Tensor]:
    """Features (B, t, C, h, w) → (B·T, C, h, w), T = `frames`; shortened levels are interpolated in time."""
    return [at_every_frame(level, frames).flatten(0, 1) for level in features]


def at_every_frame(level: Tensor, frames: int) -> Tensor:
    """(B, t, C, h, w) → (B, `frames`, C, h, w)."""
    if level.shape[1] == frames:
        return level
    clip = level.transpose(1, 2)  # (B, C, t, h, w)
    return F.interpolate(clip, (frames, *clip.shape[-2:]), mode="trilinear").transpose(1, 2)
