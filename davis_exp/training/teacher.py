"""A trained model whose answers another learns beside the masks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.segmenter import Prediction


class Teacher:
    """Its probabilities are the target of every pixel of every frame, also of those that nobody has annotated.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (at temperature 1).

    Args:
        model: a trained Segmenter, which learns nothing here.
        weight: of its answers beside the masks, above 0 and at most 1.

    Raises:
        ValueError: a weight outside of this.
    """

    def __init__(self, model: nn.Module, weight: float = 0.5) -> None:
        if not 0 < weight <= 1:
            raise ValueError(f"weight must be above 0 and at most 1, got {weight}")
        self.model = model.eval().requires_grad_(False)
        self.weight = weight

    def loss(self, prediction: Prediction, frames: Tensor | None, motion: Tensor | None) -> Tensor:
        """Cross-entropy of logits (B, T, 1, H, W) with the teacher's probabilities on the same clip, mean over pixels.

        Raises ValueError where the clip has not what the teacher sees: frames (B, T, 3, H, W) in [0, 1], and motion alike.
        """
        if frames is None:
            raise ValueError(
                "it looks at frames, which stored features stand for: set task.store_features=false"
            )
        if self.model.needs_motion and motion is None:
            raise ValueError(
                "it sees motion, and these clips have none: train a model of two streams, or choose another"
            )
        with torch.no_grad():
            answer, _ = self.model.to(frames.device)(frames, motion if self.model.needs_motion else None)
        target = answer.logits.float().sigmoid()
        return F.binary_cross_entropy_with_logits(prediction.logits.float(), target)
