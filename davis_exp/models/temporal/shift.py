"""The temporal shift (Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019):
some channels move to the next frame, some to the one before; moving them costs nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import State
from davis_exp.models.temporal.levelwise import Cell, LevelwiseTemporal
from davis_exp.models.temporal.temporal_conv import depthwise, pointwise
from davis_exp.utils.arguments import check_positive


class TemporalShift(LevelwiseTemporal):
    """Shifts on each chosen level, each followed by a separable convolution that mixes what has met.

    Args:
        inputs, levels: see LevelwiseTemporal.
        causal: channels only move to the next frame. The part then carries those of the last frame as its
            state, and the model streams; otherwise it looks `layers` frames ahead and behind.
        width: channels of the convolutions, and of what is shifted.
        portion: one in so many of them moves, in either direction.
        layers: how many shifts follow each other.

    Raises:
        ValueError: an option is below 1, or `portion` moves no channel, or more than there are; or as LevelwiseTemporal.
    """

    def __init__(
        self,
        *,
        inputs: Levels,
        causal: bool = True,
        width: int = 128,
        levels: Sequence[int] = (-1,),
        portion: int = 8,
        layers: int = 2,
    ) -> None:
        check_positive(width=width, portion=portion, layers=layers)
        moved = width // portion
        if not 0 < moved * (1 if causal else 2) <= width:
            raise ValueError(
                f"portion must be from {1 if causal else 2} to width={width}, got {portion}, which moves {moved} channels "
                "in each direction"
            )
        super().__init__(
            inputs=inputs,
            levels=levels,
            cell=lambda c: ShiftCell(c, width, moved, layers, causal),
        )


class ShiftCell(Cell):
    """A bottleneck around shifts and separable convolutions: (B, T, C, h, w) → the same shape."""

    def __init__(self, channels: int, width: int, moved: int, layers: int, causal: bool) -> None:
        super().__init__()
        self.channels = channels
        self.context = None if causal else (layers, layers)
        self.causal, self.moved = causal, moved
        self.reduce = pointwise(channels, width)
        self.layers = nn.ModuleList(
            nn.Sequential(depthwise(width), pointwise(width, width)) for _ in range(layers)
        )
        self.expand = nn.Conv2d(width, channels, 1)

    def initial_state(self, level: Tensor) -> State:
        """For each shift, the moving channels of the frame before: (B, moved, h, w), zero at first."""
        if not self.causal:
            return ()
        shape = (level.shape[0], self.moved, *level.shape[-2:])
        return tuple(level.new_zeros(shape) for _ in self.layers)

    def forward(self, level: Tensor, state: State) -> tuple[Tensor, State]:
        batch = level.shape[:2]
        x = self.reduce(level.flatten(0, 1)).unflatten(0, batch)  # (B, T, width, h, w)
        after = []
        for i, layer in enumerate(self.layers):
            before = state[i] if self.causal else torch.zeros_like(x[:, 0, : self.moved])
            after.append(x[:, -1, : self.moved])
            x = shift(x, before, back=0 if self.causal else self.moved)
            x = layer(x.flatten(0, 1)).unflatten(0, batch)
        out = level + self.expand(x.flatten(0, 1)).unflatten(0, batch)
        return out, tuple(after) if self.causal else ()


def shift(clip: Tensor, before: Tensor, back: int) -> Tensor:
    """Channels of a clip (B, T, C, h, w) moved along time.

    The first channels come from the frame before; those of the first frame from `before` (B, moved, h, w). The
    next `back` come from the frame after, zero at the last. The others stay.
    """
    moved = before.shape[1]
    forth = torch.cat([before.unsqueeze(1), clip[:, :-1, :moved]], dim=1)
    ahead = clip[:, 1:, moved : moved + back]
    ahead = torch.cat([ahead, torch.zeros_like(clip[:, :1, moved : moved + back])], dim=1)
    return torch.cat([forth, ahead, clip[:, :, moved + back :]], dim=2)
