"""TMO's decoder (Cho et al., "Treating Motion as Option to Reduce Motion Dependency in Unsupervised Video
Object Segmentation", WACV 2023): coarse to fine, with attention over channels and positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.decoders.fold_time import fold
from davis_exp.models.decoders.smp import unsuitable
from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size
from davis_exp.models.segmenter import Prediction
from davis_exp.utils.arguments import check_positive


class CBAMDecoder(nn.Module):
    """Per level, coarse → fine: 1 × 1 convolution, what came before beside it, 3 × 3 convolution, CBAM.

    Args:
        inputs: the levels that come in.
        width: channels throughout; 256 in the paper.

    Raises:
        ValueError: there is only one level, or `width` is below 1.
    """

    context = (0, 0)

    def __init__(
        self,
        *,
        inputs: Levels,
        width: int = 256,
    ) -> None:
        check_positive(width=width)
        super().__init__()
        if len(inputs) < 2:
            raise unsuitable(type(self), "at least two levels", inputs)
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in inputs.channels)
        coarsest = len(inputs) - 1
        self.blends = nn.ModuleList(
            nn.Conv2d(width if i == coarsest else 2 * width, width, 3, padding=1) for i in range(coarsest + 1)
        )
        self.attentions = nn.ModuleList(CBAM(width) for _ in inputs.channels)
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, features: list[Tensor], size: Size) -> Prediction:
        """Features (B, t, C, h, w) per level → logits (B, T, 1, h, w) at the finest level's size."""
        x = None
        levels = zip(fold(features, size[0]), self.laterals, self.blends, self.attentions, strict=True)
        for level, lateral, blend, attention in reversed(list(levels)):
            skip = F.relu(lateral(level))  # (B·T, width, h, w)
            if x is not None:
                skip = torch.cat([skip, F.interpolate(x, skip.shape[-2:], mode="bilinear")], dim=1)
            x = attention(F.relu(blend(skip)))
        return Prediction(self.head(x).unflatten(0, (-1, size[0])))


class CBAM(nn.Module):
    """A 3 × 3 convolution, then convolutional block attention (Woo et al., ECCV 2018).

    As in TMO's code, the channels' bottleneck is none, and positions are weighed by two 3 × 3 convolutions.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.channel = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))
        self.spatial = nn.Sequential(
            nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, h, w) → the same."""
        x = self.conv(x)
        pooled = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
        x = x * torch.sigmoid(self.channel(pooled[0]) + self.channel(pooled[1]))
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.spatial(summary))
