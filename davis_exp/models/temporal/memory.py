"""A bank of past frames that every new one reads from (the memory of Oh et al., "Video Object Segmentation using
Space-Time Memory Networks", ICCV 2019, without masks and of fixed size)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import State
from davis_exp.models.temporal.attention import PooledAttention
from davis_exp.models.temporal.levelwise import Cell, LevelwiseTemporal
from davis_exp.utils.arguments import check_positive


class MemoryBank(LevelwiseTemporal):
    """On each chosen level, every position attends to its own frame's regions and to those of past frames.

    The state is the bank: pooled keys and values of `size` frames, the oldest leaving first. Memory and time
    per frame are therefore the same at any length of the video.

    Args:
        inputs, levels: see LevelwiseTemporal.
        width: channels of queries, keys and values.
        heads: a divisor of `width`.
        size: frames in the bank.
        every: one in so many frames enters it, so it reaches size · every frames back.
        grid: regions along each side of a frame.

    Raises:
        ValueError: an option is below 1, or `heads` does not divide `width`; or as LevelwiseTemporal.
    """

    def __init__(
        self,
        *,
        inputs: Levels,
        width: int = 128,
        levels: Sequence[int] = (-1,),
        heads: int = 4,
        size: int = 6,
        every: int = 3,
        grid: int = 8,
    ) -> None:
        check_positive(width=width, heads=heads, size=size, every=every, grid=grid)
        super().__init__(
            inputs=inputs,
            levels=levels,
            cell=lambda c: MemoryCell(c, width, heads, size, every, grid),
        )


class MemoryCell(Cell):
    """Attention to a bank beside a shortcut: (B, T, C, h, w) → the same shape."""

    context = None

    def __init__(self, channels: int, width: int, heads: int, size: int, every: int, grid: int) -> None:
        super().__init__()
        self.channels = channels
        self.attention = PooledAttention(channels, width, heads, grid)
        self.width, self.size, self.every = width, size, every

    def initial_state(self, level: Tensor) -> State:
        """Keys and values of the bank, newest first: (B, size, regions, width); frames seen: (B,)."""
        h, w = self.attention.regions(*level.shape[-2:])
        empty = level.new_zeros(level.shape[0], self.size, h * w, self.width)
        return empty, empty, torch.zeros(level.shape[0], dtype=torch.long, device=level.device)

    def forward(self, level: Tensor, state: State) -> tuple[Tensor, State]:
        kept_keys, kept_values, count = state
        batch = level.shape[:2]
        projected = [x.unflatten(0, batch).unbind(1) for x in self.attention.project(level.flatten(0, 1))]
        slots = torch.arange(self.size + 1, device=level.device)
        outputs = []
        for queries, own_keys, own_values in zip(*projected, strict=True):  # (B, h·w or regions, width)
            keys = torch.cat([own_keys.unsqueeze(1), kept_keys], dim=1)  # (B, 1 + size, regions, width)
            values = torch.cat([own_values.unsqueeze(1), kept_values], dim=1)
            stored = (count + self.every - 1) // self.every  # frames put in so far
            valid = slots <= stored[:, None]  # (B, 1 + size): slot 0 is the frame itself
            valid = valid.repeat_interleave(own_keys.shape[1], dim=1)
            outputs.append(self.attention(queries, keys.flatten(1, 2), values.flatten(1, 2), valid))
            enters = (count % self.every == 0).view(-1, 1, 1, 1)
            kept_keys = torch.where(enters, keys[:, :-1], kept_keys)
            kept_values = torch.where(enters, values[:, :-1], kept_values)
            count = count + 1
        seen = torch.stack(outputs, dim=1)  # (B, T, h·w, C)
        return level + seen.mT.reshape(level.shape), (kept_keys, kept_values, count)
