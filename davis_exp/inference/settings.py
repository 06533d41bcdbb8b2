"""How a sequence is run."""

from dataclasses import dataclass

from davis_exp.utils.errors import BadInput


@dataclass(frozen=True)
class Inference:
    """How a sequence is run.

    Attributes:
        size: (height, width) that the model sees; None = the frames' own.
        window: frames the model sees at once (when it does not stream).
        stride: frames from the start of one window to the next.
        flip: average with the answer to the mirrored clip.
        scales: average over these multiples of `size`.
        select_motion: run the model with its motion and with the frames as their own motion, and keep the more
            confident answer of each frame (Cho et al., TMO, WACV 2023).
    """

    size: tuple[int, int] | None = None
    window: int = 8
    stride: int = 5
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    select_motion: bool = False

    def __post_init__(self) -> None:
        if self.window < 1:
            raise BadInput(f"inference.window: must be at least 1, got {self.window}")
        if not 1 <= self.stride <= self.window:
            raise BadInput(
                f"inference.stride: must lie in 1 … {self.window} (inference.window), got {self.stride}"
            )
        if self.size is not None and min(self.size) < 1:
            raise BadInput(f"inference.size: both sides must be at least 1, got {list(self.size)}")
        if not self.scales or min(self.scales) <= 0:
            raise BadInput(
                f"inference.scales: needs one scale or more, each above 0, got {list(self.scales)}"
            )

    @property
    def passes(self) -> float:
        """How many times the arithmetic of one plain pass is done."""
        return sum(scale**2 for scale in self.scales) * (1 + self.flip) * (1 + self.select_motion)
