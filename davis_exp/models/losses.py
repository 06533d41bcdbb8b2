"""Losses: a prediction against masks → a scalar. All are finite, with finite gradients, on empty masks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.segmenter import Prediction


class Loss(nn.Module, ABC):
    """The mean of `term` over the frames, plus that of each auxiliary head (deep supervision).

    Heads are held against the mask; those called "boundary…" against its boundary.

    Args:
        aux_weight: weight of every auxiliary head's loss (0.4 in PSPNet, Zhao et al., CVPR 2017).
    """

    def __init__(self, aux_weight: float = 0.4) -> None:
        super().__init__()
        self.aux_weight = aux_weight

    def forward(self, prediction: Prediction, masks: Tensor, frames: Tensor | None = None) -> Tensor:
        """Logits (B, T, 1, H, W) and masks (B, T, 1, H, W) in {0, 1}, of any dtype → a scalar in float32.

        `frames` (B, T, 3, H, W) in [0, 1] are what was segmented; few losses look at them.

        Raises ValueError for logits of another shape than the masks.
        """
        return self.total(prediction, masks, self.term)

    def total(
        self, prediction: Prediction, masks: Tensor, term: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """`term` of every head and its target, summed with the heads' weights. Raises as `forward`."""
        mask = masks.flatten(0, 1).float()  # (N, 1, H, W)
        heads = {"logits": prediction.logits, **prediction.aux}
        terms = {}
        for name, logits in heads.items():
            if logits.shape != masks.shape:
                raise ValueError(f"{name} of shape {tuple(logits.shape)} for masks of {tuple(masks.shape)}")
            target = boundary(mask) if name.startswith("boundary") else mask
            # Sums over a frame's pixels need float32; smp's losses need contiguous maps, a crop is none.
            terms[name] = term(logits.flatten(0, 1).float().contiguous(), target)
        return terms.pop("logits") + self.aux_weight * sum(terms.values())

    @abstractmethod
    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits and target (N, 1, H, W), one frame per N → a scalar."""


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
        self.score = self.make_score()

    @abstractmethod
    def make_score(self) -> nn.Module:
        """smp's loss, in the mode that keeps channels apart: frames stand in for them."""

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.score(logits.transpose(0, 1), target.transpose(0, 1))  # (1, N, H, W)


class Jaccard(Overlap):
    """1 − soft intersection over union (Rahman & Wang, ISVC 2016)."""

    def make_score(self) -> nn.Module:
        from segmentation_models_pytorch.losses import MULTILABEL_MODE, JaccardLoss

        return JaccardLoss(MULTILABEL_MODE)


class Dice(Overlap):
    """1 − soft Dice score (V-Net, Milletari et al., 3DV 2016)."""

    def make_score(self) -> nn.Module:
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


class Bootstrapped(Loss):
    """Binary cross-entropy, mean over the hardest pixels of each frame (Wu et al., "Bridging
    Category-level and Instance-level Semantic Image Segmentation", 2016; an option of 3DC-Seg).

    Args:
        fraction: of the pixels that count; those that tie with the last of them count too.

    Raises:
        ValueError: `fraction` is not above 0 and at most 1.
    """

    def __init__(self, fraction: float = 0.25, aux_weight: float = 0.4) -> None:
        super().__init__(aux_weight)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
        self.fraction = fraction

    def term(self, logits: Tensor, target: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1)  # (N, H·W)
        count = math.ceil(self.fraction * losses.shape[1])
        last = losses.detach().topk(count, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
        hard = losses.detach() >= last
        return ((losses * hard).sum(dim=1) / hard.sum(dim=1)).mean()


class BoundaryBCE(BCE):
    """Binary cross-entropy that weighs hard negatives 1 + their edge's strength, and the rest 1: MATNet's
    loss (Zhou et al., AAAI 2020), with the image's gradient for edges where theirs come from a network.

    Hard negatives are strong edges away from the object: what looks like a boundary and is none. Without
    frames there are no edges, and this is BCE.

    Args:
        edge: strength from which an edge is a strong one; 1 is the frame's strongest.
        margin: pixels around the object in which no edge is a hard negative.
        boundary_weight: what pixels on the object's own boundary weigh more; 0 in MATNet.
        aux_weight: of each auxiliary head; 0.2 for MATNet's boundaries.

    Raises:
        ValueError: `edge` is not above 0 and at most 1, or `margin` is negative.
    """

    def __init__(
        self, edge: float = 0.3, margin: int = 5, boundary_weight: float = 0.0, aux_weight: float = 0.2
    ) -> None:
        super().__init__(aux_weight)
        if not 0 < edge <= 1:
            raise ValueError(f"edge must be above 0 and at most 1, got {edge}")
        if margin < 0:
            raise ValueError(f"margin must be at least 0, got {margin}")
        self.edge = edge
        self.margin = margin
        self.boundary_weight = boundary_weight

    def forward(self, prediction: Prediction, masks: Tensor, frames: Tensor | None = None) -> Tensor:
        mask = masks.flatten(0, 1).float()
        weight = 1 + self.boundary_weight * boundary(mask)
        if frames is not None:
            weight = weight + self.hard_negatives(mask, frames.flatten(0, 1).float())

        def term(logits: Tensor, target: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(logits, target, weight)

        return self.total(prediction, masks, term)

    def hard_negatives(self, mask: Tensor, images: Tensor) -> Tensor:
        """Masks (N, 1, H, W) and images (N, 3, H, W) → strength of the edges that are hard negatives, else 0."""
        edges = edge_strength(images)
        return edges * (edges >= self.edge) * (1 - dilate(mask, self.margin))


def edge_strength(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) → Sobel's gradient of their mean channel (N, 1, H, W), the strongest of each 1."""
    grey = F.pad(images.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across = grey.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gradient = F.conv2d(grey, torch.stack([across, across.T])[:, None])  # (N, 2, H, W)
    size = gradient.norm(dim=1, keepdim=True)
    strongest = size.amax(dim=(2, 3), keepdim=True)
    return size / strongest.clamp(min=4 / 255)  # a step of less than a grey level is no edge


def boundary(mask: Tensor, radius: int = 1) -> Tensor:
    """Masks (N, 1, H, W) in {0, 1} → pixels within `radius` of one of the other kind, on either side."""
    return dilate(mask, radius) * dilate(1 - mask, radius)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Masks (N, 1, H, W) grown by `radius` pixels, diagonals included."""
    return F.max_pool2d(mask, 2 * radius + 1, stride=1, padding=radius)
