"""Encoders made of Keras models: the applications that come with it, and the user's own."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from davis_exp.models.encoders.frame_encoder import FrameEncoder
from davis_exp.models.keras import backend, file
from davis_exp.models.keras.net import KerasNet, shapes
from davis_exp.models.levels import Levels
from davis_exp.utils.errors import brief

PROBED = (512, 512)  # (H, W) of the image by which strides are told
WITHOUT_HEAD = {"include_top": False, "input_shape": (None, None, 3)}
SKIPPED = ("InputLayer", "ZeroPadding2D")  # layers that are no features


class KerasEncoder(FrameEncoder):
    """Feature maps of a Keras model.

    Args:
        factory: what makes it: keras.applications.MobileNetV2, or a function of the user's that returns a functional
            keras.Model of images (N, H, W, 3).
        layers: the names of layers whose outputs are the levels, fine → coarse; None: the model's outputs where it has
            several, else the last layer at each stride from 2 on.
        weights: a .weights.h5 or .keras file of what `factory` makes; imagenet, of a Keras application (a download);
            zoo/NAME or a .safetensors file; None for none.
        frozen: as `FrameEncoder`.
        mean, std: RGB statistics for frames in [0, 1]; None: as the application's own `preprocess_input` has them, and for
            functions of the user's frames as they are.
        options: further arguments of the factory.

    Raises:
        ValueError: Keras is not there, or the factory does not make such a model.
    """

    def __init__(
        self,
        factory: str,
        layers: Sequence[str] | None = None,
        weights: str | None = None,
        frozen: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        made_by = backend.function(factory)
        self._factory, self._layers = factory, layers
        self._options = {k: v for k, v in WITHOUT_HEAD.items() if k in backend.parameters(made_by)} | options
        net = KerasNet(self._make)
        size = net.own_size or PROBED
        found = shapes(net.graph, size)
        strides = tuple(2 ** round(math.log2(size[0] / h)) for _, _, h, _ in found)
        if list(strides) != sorted(set(strides)):
            raise ValueError(f"layers must be named from fine to coarse, one a stride, got strides {strides}")
        own_mean, own_std, self._reversed = _statistics(made_by)
        super().__init__(
            factory,
            net,
            levels=Levels(tuple(shape[1] for shape in found), strides),
            weights=weights,
            frozen=frozen,
            mean=own_mean if mean is None else mean,
            std=own_std if std is None else std,
            image_size=net.own_size,
        )

    def features(self, images: Tensor) -> list[Tensor]:
        return self.net(images.flip(1) if self._reversed else images)

    def donor(self, weights: str) -> KerasNet:
        if file.is_one(weights):
            return KerasNet(lambda: self._make(lambda model: file.load_weights(model, weights)))
        return KerasNet(lambda: self._make(weights=weights))

    def _make(self, fill: Callable[[Any], None] | None = None, **more: Any) -> Any:
        """The factory's model, cut down to what gives the levels."""
        model = backend.call(self._factory, self._options | more)
        if fill is not None:
            fill(model)
        try:
            outputs = _outputs(model, self._layers)
        except (ValueError, AttributeError, RuntimeError) as error:
            raise ValueError(f"layers: {brief(error)}") from error
        return backend.keras().Model(model.inputs[0], outputs)


def _outputs(model: Any, names: Sequence[str] | None) -> list[Any]:
    """The outputs that are the levels. Raises ValueError for a name of no layer, and whatever Keras does."""
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError("make the model of one input and its outputs (keras.Model(image, outputs))")
    if names is not None:
        return [model.get_layer(name).output for name in names]
    if len(model.outputs) > 1:
        return list(model.outputs)
    maps = [layer.output for layer in model.layers if type(layer).__name__ not in SKIPPED and _is_map(layer)]
    _, h, w, _ = model.input_shape
    size = h or PROBED[0], w or PROBED[1]
    last: dict[int, Any] = {}
    for made, shape in zip(maps, shapes(backend.keras().Model(model.inputs[0], maps), size), strict=True):
        last[round(math.log2(size[0] / shape[2]))] = made
    return [last[step] for step in sorted(last) if step > 0] or [model.outputs[0]]


def _is_map(layer: Any) -> bool:
    """Whether a layer is used once and gives one (N, h, w, C) of more than a position."""
    try:
        shape = layer.output.shape
    except (AttributeError, ValueError):
        return False
    return len(shape) == 4 and shape[1:3] != (1, 1)


def _statistics(function: Callable[..., Any]) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """What a Keras application takes frames in [0, 1] for: mean and std in RGB, and whether colours are reversed then."""
    family = sys.modules.get(function.__module__)
    preprocess = (
        getattr(family, "preprocess_input", None) if function.__module__.startswith("keras.") else None
    )
    if preprocess is None:
        return (0.0,) * 3, (1.0,) * 3, False
    black = preprocess(np.zeros((1, 1, 1, 3), np.float32)).reshape(3)
    red = preprocess(np.array([[[[255, 0, 0]]]], np.float32)).reshape(3)
    white = preprocess(np.full((1, 1, 1, 3), 255, np.float32)).reshape(3)
    reverse = bool(red[0] == black[0])  # red is not the first
    mean, std = -black / (white - black), 1 / (white - black)
    if reverse:
        mean, std = mean[::-1], std[::-1]
    return tuple(map(float, mean)), tuple(map(float, std)), reverse
