"""A Panoptic FPN whose answer is finer than a quarter of the frame."""

from torch import Tensor, nn
from torch.nn import functional as F

from davis_exp.models.decoders.fold_time import fold
from davis_exp.models.decoders.smp import FPN, unsuitable
from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size
from davis_exp.models.segmenter import Prediction
from davis_exp.utils.arguments import check_positive


class FineFPN(FPN):
    """Panoptic FPN's head on the four coarsest levels, refined at those that the encoder gives beside them, as U-Net does.

    Args:
        inputs: the levels that come in, at least five.
        pyramid, width, dropout: as of FPN.
        fine: channels at the finer levels.

    Raises:
        ValueError: the levels do not suit it, or a width is below 1.
    """

    def __init__(
        self, *, inputs: Levels, pyramid: int = 128, width: int = 96, dropout: float = 0.2, fine: int = 32
    ) -> None:
        check_positive(fine=fine)
        super().__init__(inputs=inputs, pyramid=pyramid, width=width, dropout=dropout)
        finer = inputs.channels[:-4]
        if not finer:
            raise unsuitable(type(self), "a level finer than four others (encoder.finest=2)", inputs)
        widths = [fine] * (len(finer) - 1) + [width]
        self.refinements = nn.ModuleList(
            Refinement(level, before, fine) for level, before in zip(finer, widths, strict=True)
        )
        self.head = nn.Conv2d(fine, 1, 1)

    def forward(self, features: list[Tensor], size: Size) -> Prediction:
        """Features (B, t, C, h, w) per level → logits (B, T, 1, h, w) at the finest level's size."""
        maps = fold(features, size[0])
        x = self.decoder(maps)
        for refine, level in reversed(list(zip(self.refinements, maps[:-4], strict=True))):
            x = refine(level, x)
        return Prediction(self.head(x).unflatten(0, (-1, size[0])))


class Refinement(nn.Module):
    """What came before, enlarged, and a finer level (N, C, h, w) → (N, width, h, w)."""

    def __init__(self, level: int, before: int, width: int) -> None:
        super().__init__()
        self.level = nn.Conv2d(level, width, 1, bias=False)
        self.before = nn.Conv2d(before, width, 1, bias=False)
        self.join = nn.BatchNorm2d(width)
        self.refine = nn.Sequential(*(layer for _ in range(2) for layer in convolution(width)))

    def forward(self, level: Tensor, before: Tensor) -> Tensor:
        enlarged = F.interpolate(self.before(before), level.shape[-2:], mode="bilinear")
        return self.refine(F.relu(self.join(self.level(level) + enlarged)))


def convolution(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
