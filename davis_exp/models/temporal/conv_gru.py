"""Convolutional gated recurrent units (Ballas et al., "Delving Deeper into Convolutional Networks for
Learning Video Representations", ICLR 2016): a memory of the past at chosen levels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from davis_exp.errors import BadInput


class ConvGRU(nn.Module):
    """A ConvGRU on each chosen level; the others pass through.

    A level is projected to `width` channels first: on the 960 channels of a mobile encoder's coarsest
    level, a unit of its own size would cost 50 M parameters.

    Args:
        channels, strides, temporal_strides: of the levels that come in, fine → coarse.
        width: channels of the memory, and of the levels that come out of it.
        levels: indices of the levels to work on; −1 is the coarsest.
        kernel: size of the recurrent convolutions, odd.
    """

    context = None

    def __init__(
        self,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        temporal_strides: Sequence[int],
        width: int = 128,
        levels: Sequence[int] = (-1,),
        kernel: int = 3,
    ) -> None:
        super().__init__()
        n = len(channels)
        if not levels or not all(-n <= level < n for level in levels):
            raise BadInput(
                f"temporal.levels={list(levels)}: the encoder has {n} levels, so use {-n} to {n - 1}"
            )
        if width < 1 or kernel % 2 == 0:
            raise BadInput(f"temporal.width={width}, kernel={kernel}: width must be positive and kernel odd")
        self.levels = sorted({level % n for level in levels})
        self.cells = nn.ModuleList(ConvGRUCell(channels[level], width, kernel) for level in self.levels)
        self.width = width
        self.channels = tuple(width if i in self.levels else c for i, c in enumerate(channels))
        self.strides = tuple(strides)
        self.temporal_strides = tuple(temporal_strides)

    def initial_state(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        """Zeros (B, width, h, w) for each level worked on."""
        chosen = [features[level] for level in self.levels]
        return tuple(f.new_zeros(f.shape[0], self.width, *f.shape[-2:]) for f in chosen)

    def forward(
        self, features: list[Tensor], state: tuple[Tensor, ...]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Features (B, T, C, h, w) per level and the state before them → the same, and after them."""
        features, after = list(features), []
        for cell, level, hidden in zip(self.cells, self.levels, state, strict=True):
            features[level], hidden = cell(features[level], hidden)
            after.append(hidden)
        return features, tuple(after)


class ConvGRUCell(nn.Module):
    """One unit: (B, T, in, h, w) and hidden (B, width, h, w) → (B, T, width, h, w), the last hidden."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1)
        # A convolution of [input, hidden] is the sum of one of each; the input's runs on all frames at once.
        self.inputs = nn.Conv2d(width, 3 * width, kernel, padding=kernel // 2)
        self.gates = nn.Conv2d(width, 2 * width, kernel, padding=kernel // 2, bias=False)
        self.candidate = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)

    def forward(self, clip: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self.inputs(self.project(clip.flatten(0, 1)))  # (B·T, 3·width, h, w)
        outputs = []
        for frame in inputs.unflatten(0, clip.shape[:2]).unbind(1):  # (B, 3·width, h, w)
            for_update, for_reset, for_candidate = frame.chunk(3, dim=1)
            from_update, from_reset = self.gates(hidden).chunk(2, dim=1)
            update = torch.sigmoid(for_update + from_update)
            reset = torch.sigmoid(for_reset + from_reset)
            candidate = torch.tanh(for_candidate + self.candidate(reset * hidden))
            hidden = torch.lerp(hidden, candidate, update)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1), hidden
