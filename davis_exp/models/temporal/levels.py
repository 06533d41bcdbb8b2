"""What temporal parts have in common that work on some of the encoder's levels, each by a cell of its own."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from davis_exp.errors import BadInput
from davis_exp.models.segmenter import Context, State


class Cell(nn.Module):
    """One level's worker; it keeps the level's size.

    Attributes:
        channels: of what it gives.
        reach: (past, future) steps of the level's own time that it looks at; None: it carries state.
    """

    channels: int
    reach: Context

    def initial_state(self, level: Tensor) -> State:
        """The state before the first frame of `level` (B, T, C, h, w); as many tensors in every cell."""
        return ()

    def forward(self, level: Tensor, state: State) -> tuple[Tensor, State]:
        """(B, T, C, h, w) and the state before it → (B, T, channels, h, w), and the state after it."""
        raise NotImplementedError


class LevelwiseTemporal(nn.Module):
    """Cells on the chosen levels; the others pass through.

    Args:
        channels, strides, temporal_strides: of the levels that come in, fine → coarse.
        levels: indices of the levels to work on; −1 is the coarsest.
        cell: channels of a level → its cell.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        temporal_strides: Sequence[int],
        levels: Sequence[int],
        cell: Callable[[int], Cell],
    ) -> None:
        super().__init__()
        n = len(channels)
        if not levels or not all(-n <= level < n for level in levels):
            raise BadInput(
                f"temporal.levels={list(levels)}: the encoder has {n} levels, so use {-n} to {n - 1}"
            )
        self.levels = sorted({level % n for level in levels})
        cells = {level: cell(channels[level]) for level in self.levels}
        self.cells = nn.ModuleList(cells.values())
        self.channels = tuple(cells[i].channels if i in cells else c for i, c in enumerate(channels))
        self.strides = tuple(strides)
        self.temporal_strides = tuple(temporal_strides)
        # The cells work side by side, so the widest decides; a step at a shortened level spans several frames.
        reaches = [
            [temporal_strides[level] * steps for steps in cell.reach]
            for level, cell in cells.items()
            if cell.reach is not None
        ]
        self.context: Context = (
            (max(past for past, _ in reaches), max(future for _, future in reaches)) if reaches else None
        )

    def initial_state(self, features: list[Tensor]) -> State:
        """The cells' states before the first frame, one after the other; () without state."""
        return tuple(
            tensor
            for level, cell in zip(self.levels, self.cells, strict=True)
            for tensor in cell.initial_state(features[level])  # type: ignore[operator]
        )

    def forward(self, features: list[Tensor], state: State) -> tuple[list[Tensor], State]:
        """Features (B, T, C, h, w) per level and the state before them → the same, and after them."""
        features, after = list(features), ()
        each = len(state) // len(self.levels)
        for i, (level, cell) in enumerate(zip(self.levels, self.cells, strict=True)):
            features[level], new = cell(features[level], state[i * each : (i + 1) * each])
            after += new
        return features, after


def positive(**options: int) -> None:
    """Raise BadInput for the options of `temporal` that are not at least 1."""
    for name, value in options.items():
        if value < 1:
            raise BadInput(f"temporal.{name}={value}: must be at least 1")
