"""No memory: every frame on its own."""

from collections.abc import Sequence

from torch import Tensor, nn


class NoTemporal(nn.Module):
    """Passes the encoder's features on."""

    context = (0, 0)

    def __init__(
        self, *, channels: Sequence[int], strides: Sequence[int], temporal_strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.temporal_strides = tuple(temporal_strides)

    def initial_state(self, features: list[Tensor]) -> tuple[Tensor, ...]:
        """Nothing to remember."""
        return ()

    def forward(
        self, features: list[Tensor], state: tuple[Tensor, ...]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        return features, state
