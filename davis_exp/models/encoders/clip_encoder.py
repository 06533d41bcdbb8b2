"""What every encoder that sees a whole clip at once has in common."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from davis_exp.models.encoders.frame_encoder import FrameEncoder

# RGB statistics of Kinetics-400, which the published weights of irCSN and of torchvision's nets were trained with.
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)


class ClipEncoder(FrameEncoder):
    """A 3-D network: time is an axis of its convolutions, and may get shorter from level to level.

    What it says of itself, how it normalises, freezes and loads weights is as for a FrameEncoder.

    Args:
        name: what the network is called, for messages.
        net: (B, 3, T, H, W) → one (B, C, T/t, H/s, W/s) per level. Built without weights.
        context: (past, future) frames that can change what it gives for one frame.
        **options: as for FrameEncoder.
    """

    context: tuple[int, int]

    def __init__(
        self,
        name: str,
        net: nn.Module,
        *,
        context: tuple[int, int],
        mean: Sequence[float] = KINETICS_MEAN,
        std: Sequence[float] = KINETICS_STD,
        **options: Any,
    ) -> None:
        super().__init__(name, net, mean=mean, std=std, **options)
        self.context = context

    def forward(self, frames: Tensor, motion: Tensor | None = None) -> list[Tensor]:
        """Frames (B, T, 3, H, W) in [0, 1], T a multiple of the strides → (B, T/t, C, H/s, W/s) per level."""
        clip = self.normalise(frames).unflatten(0, frames.shape[:2]).transpose(1, 2)  # (B, 3, T, H, W)
        return [level.transpose(1, 2) for level in self.features(clip)]


def context_of(layers: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """(past, future) frames that can reach one output of layers in a row, of these (kernel, stride) along time.

    The last stride also decides which frames share an output: up to stride − 1 more on either side.
    """
    frames, jump = 0, 1
    for kernel, stride in layers:
        frames += kernel // 2 * jump
        jump *= stride
    frames += jump - 1
    return frames, frames
