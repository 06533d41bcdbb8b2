"""Convolutional gated recurrent units (Ballas et al., "Delving Deeper into Convolutional Networks for
Learning Video Representations", ICLR 2016): a memory of the past at chosen levels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import State
from davis_exp.models.temporal.levelwise import Cell, LevelwiseTemporal
from davis_exp.utils.arguments import check_positive


class ConvGRU(LevelwiseTemporal):
    """A ConvGRU on each chosen level; the others pass through.

    A level is projected to `width` channels first: on the 960 channels of a mobile encoder's coarsest
    level, a unit of its own size would cost 50 M parameters.

    Args:
        inputs, levels: see LevelwiseTemporal.
        width: channels of the memory, and of the levels that come out of it.
        kernel: size of the recurrent convolutions, odd.

    Raises:
        ValueError: `width` or `kernel` is below 1, or `kernel` is even; or as LevelwiseTemporal.
    """

    def __init__(
        self,
        *,
        inputs: Levels,
        width: int = 128,
        levels: Sequence[int] = (-1,),
        kernel: int = 3,
    ) -> None:
        check_positive(width=width, kernel=kernel)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a pixel is at its middle, got {kernel}")
        super().__init__(
            inputs=inputs,
            levels=levels,
            cell=lambda c: ConvGRUCell(c, width, kernel),
        )


class ConvGRUCell(Cell):
    """One unit: (B, T, in, h, w) and hidden (B, width, h, w) → (B, T, width, h, w), the last hidden."""

    context = None

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.channels = width
        self.project = nn.Conv2d(channels, width, 1)
        # A convolution of [input, hidden] is the sum of one of each; the input's runs on all frames at once.
        self.inputs = nn.Conv2d(width, 3 * width, kernel, padding=kernel // 2)
        self.gates = nn.Conv2d(width, 2 * width, kernel, padding=kernel // 2, bias=False)
        self.candidate = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)

    def initial_state(self, level: Tensor) -> State:
        """Zeros (B, width, h, w)."""
        return (level.new_zeros(level.shape[0], self.channels, *level.shape[-2:]),)

    def forward(self, level: Tensor, state: State) -> tuple[Tensor, State]:
        (hidden,) = state
        inputs = self.inputs(self.project(level.flatten(0, 1)))  # (B·T, 3·width, h, w)
        outputs = []
        for frame in inputs.unflatten(0, level.shape[:2]).unbind(1):  # (B, 3·width, h, w)
            for_update, for_reset, for_candidate = frame.chunk(3, dim=1)
            from_update, from_reset = self.gates(hidden).chunk(2, dim=1)
            update = torch.sigmoid(for_update + from_update)
            reset = torch.sigmoid(for_reset + from_reset)
            candidate = torch.tanh(for_candidate + self.candidate(reset * hidden))
            hidden = torch.lerp(hidden, candidate, update)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1), (hidden,)
