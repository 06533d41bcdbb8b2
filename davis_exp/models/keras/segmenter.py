"""A whole Keras model, (H, W, 3) → (H, W, 1), as a segmenter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.keras import architecture, backend, file
from davis_exp.models.keras.net import KerasNet, shapes
from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import Prediction, State

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # of which a size must be one
OUTPUTS = ("auto", "probabilities", "logits")
CERTAIN = 1e-6  # a probability no nearer than this to 0 or 1


class KerasSegmenter(nn.Module):
    """Frame by frame; frames are padded to what the model takes, or resized where it takes one size alone.

    Args:
        factory: a function of the user's, as my_module.make, that returns a keras.Model (N, H, W, 3) → (N, H, W, 1).
        architecture: instead, what a .keras file says of its model (JSON), of Keras' own layers alone.
        weights: a .weights.h5 or .keras file of that model; None to start without.
        output: whether the model gives probabilities or logits; auto goes by its last layer's activation.
        mean, std: statistics for frames in [0, 1]: the model sees (frame - mean) / std.
        options: further arguments of the factory.

    Raises:
        ValueError: Keras is not there, or the model is none of this kind.
    """

    context = (0, 0)
    needs_motion = False
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        factory: str | None = None,
        architecture: str | None = None,
        weights: str | None = None,
        output: str = "auto",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        **options: Any,
    ) -> None:
        super().__init__()
        if (factory is None) == (architecture is None):
            raise ValueError("factory: give what makes the model, as my_module.make")
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        self._factory, self._architecture, self._options, self.weights = (
            factory,
            architecture,
            options,
            weights,
        )
        self.net = KerasNet(self._make)
        self.image_size = self.net.own_size
        self.multiple = _multiple(self.net)
        self.levels = Levels((1,), (self.multiple,), (1,))
        self._logits = output == "logits" or (output == "auto" and _ends_in_logits(self.net.graph))
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(
        self, frames: Tensor, motion: Tensor | None = None, state: State | None = None
    ) -> tuple[Prediction, State]:
        """Frames (B, T, 3, H, W) in [0, 1] → logits (B, T, 1, H, W)."""
        if not frames.is_floating_point():
            raise TypeError(f"frames must be floats in [0, 1], got {frames.dtype}")
        images = (frames.flatten(0, 1) - self.mean) / self.std  # (B·T, 3, H, W)
        h, w = images.shape[-2:]
        if self.image_size is not None:
            images = F.interpolate(images, self.image_size, mode="bilinear", antialias=True)
        elif h % self.multiple or w % self.multiple:
            images = F.pad(images, (0, -w % self.multiple, 0, -h % self.multiple), mode="replicate")
        (made,) = self.net(images)
        logits = made if self._logits else torch.logit(made.float(), CERTAIN)
        if self.image_size is not None:
            logits = F.interpolate(logits, (h, w), mode="bilinear")
        return Prediction(logits[..., :h, :w].unflatten(0, frames.shape[:2])), ()

    def load_weights(self) -> None:
        """Fill in the weights that it was told of, if any. Raises ValueError if they do not fit."""
        if self.weights is None:
            return
        path = self.weights
        if not file.is_one(path):
            raise ValueError(f"weights={path}: give a .weights.h5 or .keras file")
        self.net.load_state_dict(KerasNet(lambda: self._make(path)).state_dict())

    def save(self, path: Path) -> None:
        """Write the model with its weights as a .keras file. Raises ValueError where that would be another model."""
        if self.mean.any() or (self.std != 1).any():
            raise ValueError(
                "mean and std are no part of a .keras file: put a Rescaling layer into the model instead"
            )
        if self._logits != _ends_in_logits(self.net.graph):
            raise ValueError("output: a .keras file says it by the last layer's activation")
        file.save(self.net.to_keras(), path)

    def _make(self, weights: str | None = None) -> Any:
        if self._factory is not None:
            model = backend.call(self._factory, self._options)
        else:
            model = architecture.model(str(self._architecture))
        if weights is not None:
            file.load_weights(model, weights)
        return model


def _multiple(net: KerasNet) -> int:
    """What sides of frames must be a multiple of. Raises ValueError for a model that gives no map of the frame's size."""
    found: object = None
    for multiple in MULTIPLES if net.own_size is None else (1,):
        size = net.own_size or (5 * multiple, 11 * multiple)
        try:
            found = shapes(net.graph, size)
        except Exception as error:  # of sizes that do not fit together
            found = error
            continue
        if found == [(1, 1, *size)]:
            return multiple
    raise ValueError(
        f"a model (N, H, W, 3) → (N, H, W, 1) is needed; of an image of {size[0]} x {size[1]} this one makes {found}"
    )


def _ends_in_logits(model: Any) -> bool:
    """Whether the activation of its last layer is none, and not a sigmoid. Raises ValueError for any other."""
    name = getattr(getattr(model.layers[-1], "activation", None), "__name__", "none")
    if name not in ("sigmoid", "linear", "none"):
        raise ValueError(
            f"output: the last layer ends in {name}; say whether that is probabilities or logits (auto knows sigmoid and "
            "linear)"
        )
    return name != "sigmoid"


def starter() -> Any:
    """The contest's Keras starter: one 1 × 1 convolution with a sigmoid, 4 parameters."""
    layers = backend.keras().layers
    return backend.keras().Sequential(
        [layers.Input((None, None, 3)), layers.Conv2D(1, 1, activation="sigmoid")]
    )
