"""How a sequence is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from davis_exp.config import parts
from davis_exp.inference.track import Weight
from davis_exp.utils.errors import BadInput, quoted


def check_motion(settings: Mapping[str, Any], needs_motion: bool) -> None:
    """Raises BadInput for `inference` settings that are about motion, of a model that is not given any."""
    for key in ("select_motion", "flow_gaps"):
        if settings.get(key) and not needs_motion:
            raise BadInput(f"inference.{key}: this model takes no motion pictures; leave it out")


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
        flow_gaps: average over the answers with flow to the frame so many later (below 0: earlier), one pass each, every
            other of them to the mirrored clip, which costs no more; None: the flow that the model was trained with.
            Yang et al. ("Self-supervised Video Object Segmentation by Motion Grouping", ICCV 2021) train on such gaps.
        consensus: the weight, 0 … 1, at which the probability of each pixel is drawn towards that of the pixels most like
            it, by the encoder's features, in eight of the frames around, up to 36 away, so that masks
            come as late; 0 asks none.
        carry: the weight, 0 … 1, at which the probabilities of the frames before and after are averaged with a frame's
            own, carried along optical flow; 0 carries none.
        track: follow what the masks show over the whole sequence, and drop what has little `mass`, little `motion` (mass
            times speed relative to the camera) or little `speed`; False drops nothing. No mask comes before the last
            frame has been seen.
        track_share: of the heaviest track's weight, what another needs to stay; 0 … 1. By `speed`: of the speed of the
            track of most motion.
    """

    size: tuple[int, int] | None = None
    window: int = 8
    stride: int = 5
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    select_motion: bool = False
    flow_gaps: tuple[int, ...] | None = None
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
        if not parts.flow_gaps(self.flow_gaps):
            raise BadInput(f"inference.flow_gaps: must be {parts.GAPS}, got {quoted(self.flow_gaps)}")
        for name, value in (
            ("consensus", self.consensus),
            ("carry", self.carry),
            ("track_share", self.track_share),
        ):
            if not 0 <= value <= 1:
                raise BadInput(f"inference.{name}: must lie in 0 … 1, got {value}")
        if self.track is not False and self.track not in get_args(Weight):
            raise BadInput(f"inference.track: must be {parts.TRACKS}, got {quoted(self.track)}")

    @property
    def passes(self) -> float:
        """How many times the arithmetic of one plain pass is done."""
        motions = len(self.flow_gaps or (None,)) + self.select_motion
        return sum(scale**2 for scale in self.scales) * (1 + self.flip) * motions
