"""The least a decoder can be: one linear readout per pixel."""

import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.decoders.fold_time import fold
from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size
from davis_exp.models.segmenter import Prediction


class PixelDecoder(nn.Module):
    """A 1 × 1 convolution of all levels together, brought to the finest one's size.

    Hypercolumns (Hariharan et al., CVPR 2015) with a linear classifier. Convolving each level before
    resizing it gives the same sum for a fraction of the memory.
    """

    context = (0, 0)

    def __init__(self, *, inputs: Levels) -> None:
        super().__init__()
        self.readouts = nn.ModuleList(nn.Conv2d(c, 1, 1, bias=i == 0) for i, c in enumerate(inputs.channels))

    def forward(self, features: list[Tensor], size: Size) -> Prediction:
        """Features (B, t, C, h, w) per level → logits (B, T, 1, h, w) at the finest level's size."""
        maps = [readout(f) for readout, f in zip(self.readouts, fold(features, size[0]), strict=True)]
        finest = maps[0].shape[-2:]
        logits = maps[0] + sum(F.interpolate(m, finest, mode="bilinear") for m in maps[1:])  # (B·T, 1, h, w)
        return Prediction(logits.unflatten(0, (-1, size[0])))
