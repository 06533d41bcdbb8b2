"""The decoder that MobileNetV3 was published with: next to nothing beside the encoder."""

from torch import Tensor, nn

from davis_exp.models.decoders.fold_time import fold
from davis_exp.models.decoders.smp import unsuitable
from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size
from davis_exp.models.segmenter import Prediction
from davis_exp.utils.arguments import check_positive


class LRASPP(nn.Module):
    """Lite R-ASPP (Howard et al., "Searching for MobileNetV3", ICCV 2019), torchvision's head, on two levels.

    The coarsest level, each channel weighted by what the whole frame says of it, is brought to the finer one's size and
    added to it as logits.

    Args:
        width: channels of the coarse branch.
        stride: of the finer level; the published one has 8, 4 sees finer borders.

    Raises:
        ValueError: there is no level at that stride, or none coarser.
    """

    context = (0, 0)

    def __init__(self, *, inputs: Levels, width: int = 128, stride: int = 8) -> None:
        from torchvision.models.segmentation.lraspp import LRASPPHead

        super().__init__()
        check_positive(width=width, stride=stride)
        if stride not in inputs.strides[:-1]:
            raise unsuitable(type(self), f"a level at stride {stride} and a coarser one", inputs)
        self.fine = inputs.strides.index(stride)
        self.head = LRASPPHead(inputs.channels[self.fine], inputs.channels[-1], 1, width)

    def forward(self, features: list[Tensor], size: Size) -> Prediction:
        """Features (B, t, C, h, w) per level → logits (B, T, 1, h, w) at the finer level's size."""
        low, high = fold([features[self.fine], features[-1]], size[0])
        logits = self.head({"low": low, "high": high})  # (B·T, 1, h, w)
        return Prediction(logits.unflatten(0, (-1, size[0])))
