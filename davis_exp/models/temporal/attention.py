"""Attention from the pixels of a frame to pooled regions of the frames around it."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import State
from davis_exp.models.temporal.levelwise import Cell, LevelwiseTemporal
from davis_exp.utils.arguments import check_positive

FREQUENCIES = 4  # of the position code: waves of 2 image sizes, 1, 1/2 and 1/4


class TemporalAttention(LevelwiseTemporal):
    """On each chosen level, every position attends to a coarse grid of regions in the frames near its own.

    Pooling keys and values (as the spatial reduction of Wang et al., PVT, ICCV 2021) and looking `window`
    frames either way make time and memory linear in the number of frames: h·w queries × (2·window + 1)·grid²
    keys for each.

    Args:
        inputs, levels: see LevelwiseTemporal.
        width: channels of queries, keys and values.
        heads: a divisor of `width`.
        window: time steps looked at before and after a frame's own.
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
        window: int = 2,
        grid: int = 8,
    ) -> None:
        check_positive(width=width, heads=heads, window=window, grid=grid)
        super().__init__(
            inputs=inputs,
            levels=levels,
            cell=lambda c: AttentionCell(c, width, heads, window, grid),
        )


class AttentionCell(Cell):
    """Windowed attention beside a shortcut: (B, T, C, h, w) → the same shape."""

    def __init__(self, channels: int, width: int, heads: int, window: int, grid: int) -> None:
        super().__init__()
        self.channels = channels
        self.context = (window, window)
        self.attention = PooledAttention(channels, width, heads, grid)
        self.offset = nn.Parameter(torch.zeros(2 * window + 1, 1, width))  # how far away in time a key is
        nn.init.normal_(self.offset, std=0.02)

    def forward(self, level: Tensor, state: State) -> tuple[Tensor, State]:
        batch, window = level.shape[:2], len(self.offset)
        queries, keys, values = self.attention.project(level.flatten(0, 1))
        regions = keys.shape[1]
        keys = (
            sliding_windows(keys.unflatten(0, batch), window) + self.offset
        )  # (B, T, window, regions, width)
        values = sliding_windows(values.unflatten(0, batch), window)
        inside = (
            sliding_windows(keys.new_ones(1, batch[1], 1, 1), window) > 0
        )  # (1, T, window, 1, 1): in the clip
        inside = inside.expand(batch[0], -1, -1, regions, -1).flatten(0, 1).flatten(1)  # (B·T, keys)
        seen = self.attention(
            queries, keys.flatten(0, 1).flatten(1, 2), values.flatten(0, 1).flatten(1, 2), inside
        )
        return level + seen.mT.reshape(level.shape), state


class PooledAttention(nn.Module):
    """Attention with as many queries as a map has positions, and few keys: those of a coarse grid.

    `project` makes them; `forward` attends. Queries and keys know their place in the frame.
    """

    def __init__(self, channels: int, width: int, heads: int, grid: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width={width}, got {heads}")
        self.heads, self.grid = heads, grid
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(channels, width)
        self.value = nn.Linear(channels, width)
        self.place = nn.Linear(4 * FREQUENCIES, width, bias=False)
        self.out = nn.Linear(width, channels)

    def project(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (N, C, h, w) → queries (N, h·w, width), keys and values (N, regions, width)."""
        h, w = maps.shape[-2:]
        tokens = self.norm(maps.permute(0, 2, 3, 1))  # (N, h, w, C)
        grid = self.regions(h, w)
        pooled = F.adaptive_avg_pool2d(tokens.permute(0, 3, 1, 2), grid).flatten(2).mT  # (N, regions, C)
        queries = self.query(tokens.flatten(1, 2)) + self.place(positions(h, w, maps))
        return queries, self.key(pooled) + self.place(positions(*grid, maps)), self.value(pooled)

    def regions(self, h: int, w: int) -> tuple[int, int]:
        """The grid of keys for maps of h × w: never finer than they are."""
        return min(self.grid, h), min(self.grid, w)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, valid: Tensor) -> Tensor:
        """(N, queries, width), (N, keys, width) twice and (N, keys) bool → (N, queries, channels)."""
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (queries, keys, values))
        seen = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), valid[:, None, None])
        return self.out(seen.transpose(1, 2).flatten(2))


def sliding_windows(clip: Tensor, window: int) -> Tensor:
    """(B, T, …) → (B, T, window, …): the `window` frames around each; zeros stand outside the clip."""
    half, length = window // 2, clip.shape[1]
    edge = clip.new_zeros(clip.shape[0], half, *clip.shape[2:])
    padded = torch.cat([edge, clip, edge], dim=1)
    return torch.stack([padded[:, i : i + length] for i in range(window)], dim=2)


def positions(h: int, w: int, like: Tensor) -> Tensor:
    """Sine and cosine waves of each position's y and x: (h·w, 4 · FREQUENCIES)."""
    y = (torch.arange(h, device=like.device, dtype=like.dtype) + 0.5) / h
    x = (torch.arange(w, device=like.device, dtype=like.dtype) + 0.5) / w
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)  # (h·w, 2)
    waves = torch.cat([grid * (math.pi * 2**i) for i in range(FREQUENCIES)], dim=1)
    return torch.cat([waves.sin(), waves.cos()], dim=1)
