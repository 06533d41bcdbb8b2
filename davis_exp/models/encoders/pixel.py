"""The frame itself as its only level of features: nothing to train, nothing to count."""

from torch import Tensor, nn

from davis_exp.models.encoders.frame_encoder import FrameEncoder
from davis_exp.models.levels import Levels


class PixelEncoder(FrameEncoder):
    """Frames as they are, in [0, 1]; with `decoder=pixel` the whole model is one 1 × 1 convolution."""

    def __init__(self) -> None:
        super().__init__("pixel", nn.Identity(), levels=Levels((3,), (1,)), mean=(0.0,) * 3, std=(1.0,) * 3)

    def features(self, images: Tensor) -> list[Tensor]:
        return [images]
