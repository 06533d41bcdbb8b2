"""Clips made as large as a model's strides want them, and its logits cut back."""

import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int, int]
"""(T, H, W)."""


def round_up(size: Size, step: int, stride: int) -> Size:
    """`size` (T, H, W) rounded up to multiples of `step` frames and `stride` pixels."""
    t, h, w = size
    return -(-t // step) * step, -(-h // stride) * stride, -(-w // stride) * stride


def pad(clip: Tensor, padded: Size) -> Tensor:
    """A clip (B, T, C, H, W) made as large as `padded` (T, H, W) by repeating its last frame, row and column."""
    (pt, ph, pw), (t, _, h, w) = padded, clip.shape[1:]
    if (pt, ph, pw) == (t, h, w):
        return clip
    clip = clip.transpose(1, 2)  # (B, C, T, H, W): `pad` replicates the last three axes
    return F.pad(clip, (0, pw - w, 0, ph - h, 0, pt - t), mode="replicate").transpose(1, 2)


def resize_and_crop(logits: Tensor, size: Size, padded: Size) -> Tensor:
    """Resize logits (B, T, 1, h, w) to the padded input, then crop to `size`."""
    if logits.shape[-2:] != padded[1:]:
        frames = F.interpolate(logits.flatten(0, 1), padded[1:], mode="bilinear")  # (B·T, 1, H, W)
        logits = frames.unflatten(0, logits.shape[:2])
    t, h, w = size
    return logits[:, :t, :, :h, :w]
