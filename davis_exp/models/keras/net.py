"""A Keras model as a module of torch's, whose weights are its own."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from davis_exp.models.empty import building_empty
from davis_exp.models.keras.backend import keras

LARGEST = 2**11  # pixels along a side of images, where a model takes one size alone


class _Graph:
    """A Keras model, which is the same in every copy: only the order of its layers is taken from it."""

    def __init__(self, model: Any, make: Callable[[], Any]) -> None:
        self.model, self.make = model, make
        measured = {id(variable) for variable in getattr(model, "metrics_variables", ())}
        self.variables = [variable for variable in model.variables if id(variable) not in measured]

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Graph":
        return self


class KerasNet(nn.Module):
    """Images (N, 3, H, W) → the outputs of a Keras model, (N, C, h, w) each.

    What Keras creates to be trained is a parameter here, frozen or not; moving statistics and the states of random
    numbers are buffers. The Keras model is run with these as its weights, so that devices, checkpoints, averages and
    empty weights are torch's affair alone.

    Args:
        make: makes the Keras model, which takes (N, H, W, 3).

    Attributes:
        graph: the Keras model. Its own weights are not those of the module: `to_keras`.
        moving_statistics: how many numbers Keras counts as parameters that are buffers here.

    Raises:
        ValueError: as `make`, and for a model without known weights, or one that takes something else.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        empty = building_empty()
        with keras().device("meta" if empty else "cpu"):
            model = make()
            if not model.built:
                model.build((None, None, None, 3))
        shape = getattr(model, "input_shape", None)
        if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
            raise ValueError(f"a model of images (N, H, W, 3) is needed, this one takes {shape}")
        if max(shape[1] or 0, shape[2] or 0) > LARGEST:
            raise ValueError(f"it takes images of {shape[1]} x {shape[2]} only, larger than {LARGEST} a side")
        self._kept = _Graph(model, make)
        learnt = {
            id(variable) for layer in model._flatten_layers() for variable in layer._trainable_variables
        }
        unseeded = {
            id(generator.state)
            for layer in model._flatten_layers()
            for generator in getattr(layer, "_seed_generators", ())
            if generator._initial_seed is None
        }
        counted = {id(variable) for variable in model.weights}
        self._names: list[str] = []
        self.moving_statistics = 0
        for i, variable in enumerate(self._kept.variables):
            # By place: Keras numbers the layers of a process, and so calls the same one differently each time.
            name = f"{i:04d}_{re.sub(r'(_?[0-9]+$)|[^a-z_]', '', variable.name)}"
            self._names.append(name)
            value = variable.value.detach()
            if id(variable) in unseeded:  # which Keras draws anew in each process
                value = torch.tensor([i, 0], dtype=value.dtype)
            if id(variable) in learnt:
                if empty:
                    value = torch.zeros((), dtype=value.dtype).expand(value.shape)
                self.register_parameter(name, nn.Parameter(value, requires_grad=variable.trainable))
            else:
                self.register_buffer(name, torch.zeros(value.shape, dtype=value.dtype) if empty else value)
                self.moving_statistics += value.numel() if id(variable) in counted else 0

    @property
    def graph(self) -> Any:
        return self._kept.model

    @property
    def own_size(self) -> tuple[int, int] | None:
        """The only (H, W) that it takes; None: any."""
        _, h, w, _ = self.graph.input_shape
        return None if h is None or w is None else (h, w)

    def to_keras(self) -> Any:
        """The Keras model made anew, with the weights as they are now."""
        with torch.no_grad(), keras().device("cpu"):
            graph = _Graph(self._kept.make(), self._kept.make)
            for variable, name in zip(graph.variables, self._names, strict=True):
                variable.assign(
                    self.get_parameter(name) if name in self._parameters else self.get_buffer(name)
                )
        return graph.model

    def forward(self, images: Tensor) -> list[Tensor]:
        weights = [self._parameters.get(name, self._buffers.get(name)) for name in self._names]
        maps, after = run(self.graph, images, zip(self._kept.variables, weights, strict=True), self.training)
        if self.training:
            with torch.no_grad():
                for variable, weight in zip(self._kept.variables, weights, strict=True):
                    if isinstance(weight, Tensor) and not isinstance(weight, nn.Parameter):
                        weight.copy_(after(variable))
        return maps


def run(
    model: Any, images: Tensor, weights: Iterable[tuple[Any, Any]] = (), training: bool = False
) -> tuple[list[Tensor], Callable[[Any], Any]]:
    """A Keras model on images (N, 3, H, W), with these values for its variables.

    Returns its outputs, (N, C, h, w) each, and what tells a variable's value afterwards.
    """
    k = keras()
    # "meta" itself is where Keras traces symbols, for which several of its operations fail with tensors.
    device = "meta:0" if images.is_meta else str(images.device)
    with k.device(device), k.StatelessScope(state_mapping=weights) as scope:
        made = model(images.permute(0, 2, 3, 1), training=training)
    made = list(made) if isinstance(made, list | tuple) else [made]
    return [
        value.permute(0, 3, 1, 2) if value.ndim == 4 else value for value in made
    ], scope.get_current_value


def shapes(model: Any, size: tuple[int, int]) -> list[tuple[int, ...]]:
    """The shapes of a Keras model's outputs for one image (H, W), channels first, without arithmetic."""
    with torch.no_grad():
        weights = [(variable, variable.value.to("meta")) for variable in model.variables]
        made, _ = run(model, torch.empty(1, 3, *size, device="meta"), weights)
    return [tuple(value.shape) for value in made]
