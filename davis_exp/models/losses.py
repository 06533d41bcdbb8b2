"""Losses: a prediction against masks → a scalar. All are finite, with finite gradients, on empty masks."""

import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.errors import BadInput
from davis_exp.models.segmenter import Prediction


class Loss(nn.Module):
    """The mean of `term` over the frames, plus that of each auxiliary head.

    Args:
        aux_weight: weight of every auxiliary head's loss (0.4 in PSPNet, Zhao et al., CVPR 2017).
    """

    def __init__(self, aux_weight: float = 0.4) -> None:
        super().__init__()
        self.aux_weight = aux_weight

    def forward(self, prediction: Prediction, masks: Tensor) -> Tensor:
        """Logits (B, T, 1, H, W) and masks (B, T, 1, H, W) in {0, 1}, of any dtype → a scalar in float32."""
        target = masks.flatten(0, 1).float()  # (N, 1, H, W)
        heads = {"logits": prediction.logits, **prediction.aux}
        terms = {}
        for name, logits in heads.items():
            if logits.shape != masks.shape:
                raise BadInput(
                    f"model: gives {name} of shape {tuple(logits.shape)} for masks of {tuple(masks.shape)}"
                )
            # Sums over a frame's pixels need float32; smp's losses need contiguous maps, a crop is none.
            terms[name] = self.term(logits.flatten(0, 1).float().contiguous(), target)
        return terms.pop("logits") + self.aux_weight * sum(terms.values())

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and target (N, 1, H, W), one frame per N → a scalar."""
        raise NotImplementedError


class BCE(Loss):
    """Binary cross-entropy, mean over pixels."""

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, target)


class Overlap(Loss):
    """1 − a soft overlap score of each frame, mean over frames, as the contest averages its score.

    smp's losses give an empty frame 0, and no gradient.
    """

    def __init__(self, aux_weight: float = 0.4) -> None:
        super().__init__(aux_weight)
        self.score = self.make()

    def make(self) -> nn.Module:
        """smp's loss, in the mode that keeps channels apart: frames stand in for them."""
        raise NotImplementedError

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.score(logits.transpose(0, 1), target.transpose(0, 1))  # (1, N, H, W)


class Jaccard(Overlap):
    """1 − soft intersection over union (Rahman & Wang, ISVC 2016)."""

    def make(self) -> nn.Module:
        from segmentation_models_pytorch.losses import MULTILABEL_MODE, JaccardLoss

        return JaccardLoss(MULTILABEL_MODE)


class Dice(Overlap):
    """1 − soft Dice score (V-Net, Milletari et al., 3DV 2016)."""

    def make(self) -> nn.Module:
        from segmentation_models_pytorch.losses import MULTILABEL_MODE, DiceLoss

        return DiceLoss(MULTILABEL_MODE)


class BCEDice(Dice):
    """Binary cross-entropy plus `dice_weight` × Dice: the first acts on empty frames too."""

    def __init__(self, dice_weight: float = 1.0, aux_weight: float = 0.4) -> None:
        super().__init__(aux_weight)
        self.dice_weight = dice_weight

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        bce = F.binary_cross_entropy_with_logits(logits, target)
        return bce + self.dice_weight * super().term(logits, target)


class Lovasz(Loss):
    """Lovász hinge of each frame (Berman et al., CVPR 2018): a convex surrogate of its Jaccard index."""

    def __init__(self, aux_weight: float = 0.4) -> None:
        from segmentation_models_pytorch.losses import BINARY_MODE, LovaszLoss

        super().__init__(aux_weight)
        self.hinge = LovaszLoss(BINARY_MODE, per_image=True)

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.hinge(logits, target)


class Focal(Loss):
    """Focal loss (Lin et al., ICCV 2017), mean over pixels.

    Args:
        gamma: how much well-classified pixels count less; 0 is cross-entropy.
        alpha: weight of foreground, against 1 − alpha of background; None weighs both 1.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None, aux_weight: float = 0.4) -> None:
        from segmentation_models_pytorch.losses import BINARY_MODE, FocalLoss

        super().__init__(aux_weight)
        self.focal = FocalLoss(BINARY_MODE, alpha=alpha, gamma=gamma)

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.focal(logits, target)
