"""What temporal parts have in common that work on some of the encoder's levels, each by a cell of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import Context, State


class Cell(nn.Module, ABC):
    """One level's worker; it keeps the level's size.

    Attributes:
        channels: of what it gives.
        context: (past, future) steps of the level's own time that it looks at; None: it carries state.
    """

    channels: int
    context: Context

    def initial_state(self, level: Tensor) -> State:
        """The state before the first frame of `level` (B, T, C, h, w); as many tensors in every cell."""
        return ()

    @abstractmethod
    def forward(self, level: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, T, C, h, w) and the state before it → (B, T, channels, h, w), and the state after it."""


class LevelwiseTemporal(nn.Module):
    """Cells on the chosen levels; the others pass through.

    Args:
        inputs: the levels that come in.
        levels: indices of the levels to work on; −1 is the coarsest.
        cell: channels of a level → its cell.

    Raises:
        ValueError: no `levels`, or such as there are not.
    """

    def __init__(
        self,
        *,
        inputs: Levels,
        levels: Sequence[int],
        cell: Callable[[int], Cell],
    ) -> None:
        super().__init__()
        n = len(inputs)
        if not levels or not all(-n <= level < n for level in levels):
            raise ValueError(f"levels must be from {-n} to {n - 1}, since {n} come in, got {list(levels)}")
        self.worked_on = sorted({level % n for level in levels})
        cells = {level: cell(inputs.channels[level]) for level in self.worked_on}
        self.cells = nn.ModuleList(cells.values())
        self.levels = inputs.with_channels(
            [cells[i].channels if i in cells else c for i, c in enumerate(inputs.channels)]
        )
        # The cells work side by side, so the widest decides; a step at a shortened level spans several frames.
        windows = [
            [inputs.temporal_strides[level] * steps for steps in cell.context]
            for level, cell in cells.items()
            if cell.context is not None
        ]
        self.context: Context = (
            (max(past for past, _ in windows), max(future for _, future in windows)) if windows else None
        )

    def initial_state(self, features: list[Tensor]) -> State:
        """The cells' states before the first frame, one after the other; () without state."""
        return tuple(
            tensor
            for level, cell in zip(self.worked_on, self.cells, strict=True)
            for tensor in cell.initial_state(features[level])  # type: ignore[operator]
        )

    def forward(self, features: list[Tensor], state: State) -> tuple[list[Tensor], State]:
        """Features (B, T, C, h, w) per level and the state before them → the same, and after them."""
        features, after = list(features), ()
        each = len(state) // len(self.worked_on)
        for i, (level, cell) in enumerate(zip(self.worked_on, self.cells, strict=True)):
            features[level], new = cell(features[level], state[i * each : (i + 1) * each])
            after += new
        return features, after
