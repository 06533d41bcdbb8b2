"""No memory: every frame on its own."""

from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import State


class NoTemporal(nn.Module):
    """Passes the encoder's features on."""

    context = (0, 0)

    def __init__(self, *, inputs: Levels) -> None:
        super().__init__()
        self.levels = inputs

    def initial_state(self, features: list[Tensor]) -> State:
        """Nothing to remember."""
        return ()

    def forward(self, features: list[Tensor], state: State) -> tuple[list[Tensor], State]:
        """Both as they are."""
        return features, state
