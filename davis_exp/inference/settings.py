"""How a sequence is run."""

from dataclasses import dataclass
from typing import Literal, get_args

from davis_exp.inference.track import Weight
from davis_exp.utils.errors import BadInput, quoted


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
        consensus: the weight, 0 … 1, at which the probability of each pixel is drawn towards that of the pixels most like
            it, by the encoder's features, in eight of the frames around, up to 36 away, so that masks
            come as late; 0 asks none.
        carry: the weight, 0 … 1, at which the probabilities of the frames before and after are averaged with a frame's
            own, carried along optical flow; 0 carries none.
        track: follow what the masks show over the whole sequence, and drop what has little `mass`, or little `motion`
            relative to the camera; False drops nothing. No mask comes before the last frame has been seen.
        track_share: of the heaviest track's weight, what another needs to stay; 0 … 1.
    """

    size: tuple[int, int] | None = None
    window: int = 8
    stride: int = 5
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    select_motion: bool = False
    consensus: float = 0.0
    carry: float = 0.0
    track: Literal[False] | Weight = False
    track_share: float = 0.4

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
        for name, value in (
            ("consensus", self.consensus),
            ("carry", self.carry),
            ("track_share", self.track_share),
        ):
            if not 0 <= value <= 1:
                raise BadInput(f"inference.{name}: must lie in 0 … 1, got {value}")
        if self.track is not False and self.track not in get_args(Weight):
            raise BadInput(f"inference.track: must be false, mass or motion, got {quoted(self.track)}")

    @property
    def passes(self) -> float:
        """How many times the arithmetic of one plain pass is done."""
        return sum(scale**2 for scale in self.scales) * (1 + self.flip) * (1 + self.select_motion)
