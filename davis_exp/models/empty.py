"""Models without memory for their weights: built and counted in no time, and run for their shapes alone."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

WRITING = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__")
NOT_WRITING = ("requires_grad_", "detach_")


class _KeepHollow(TorchFunctionMode):
    """What would write into a hollow tensor does nothing, and its copies are hollow too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_hollow(out := (kwargs or {}).get("out")):
            return out
        first: Any = args[0] if args else next(iter((kwargs or {}).values()), None)
        if is_hollow(first):
            name = getattr(func, "__name__", "")
            in_place = name.endswith("_") and not name.endswith("__") and name not in NOT_WRITING
            if in_place or name in WRITING:
                return first
            if name == "clone":
                return first.detach()
            if name == "__deepcopy__":
                copy = first.detach()
                args[1][id(first)] = (
                    nn.Parameter(copy, first.requires_grad) if isinstance(first, nn.Parameter) else copy
                )
                return args[1][id(first)]
        return func(*args, **(kwargs or {}))


def is_hollow(value: Any) -> bool:
    """Whether it is a tensor that has a shape and no memory of that size: zeros throughout."""
    if not isinstance(value, Tensor) or value.is_meta or value.layout != torch.strided:
        return False
    return value.numel() * value.element_size() > value.untyped_storage().nbytes()


@contextlib.contextmanager
def empty_weights() -> Iterator[None]:
    """Modules built inside have hollow parameters: shapes, without memory or values of their own.

    Constructors can compute with them (drop-path rates, tables of positions, a pass to find a size), which those of
    several libraries do and the meta device refuses; buffers are what they always are. It acts on the whole process:
    build one model at a time.
    """
    register = nn.Module.register_parameter
    twins: dict[nn.Parameter, nn.Parameter] = {}  # a parameter registered twice stays shared

    def register_empty(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not is_hollow(param):
            if param not in twins:
                hollow = param.detach().new_zeros(()).expand(param.shape)
                twin = nn.Parameter(hollow, requires_grad=param.requires_grad)
                twins[param] = twins[twin] = twin
            param = twins[param]
        register(module, name, param)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        with _KeepHollow():
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def building_empty() -> bool:
    """Whether modules that are built now get hollow parameters."""
    probe = nn.Module()
    probe.register_parameter("weight", nn.Parameter(torch.zeros(2)))
    return is_hollow(probe.weight)


def shapes_of(module: nn.Module) -> dict[str, Tensor]:
    """Its parameters and buffers on the meta device, by name."""
    tensors = itertools.chain(module.named_parameters(), module.named_buffers())
    return {name: tensor.to("meta") for name, tensor in tensors}


def run_empty(module: nn.Module, *inputs: Any, shapes: dict[str, Tensor] | None = None) -> Any:
    """What `module` returns for inputs on the meta device, where tensors are shapes. It is left as it was.

    `shapes` are its own, where they are at hand.
    """
    with evaluating(module), torch.no_grad():
        return functional_call(module, shapes_of(module) if shapes is None else shapes, inputs)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards all is as it was.

    Each module's mode, what some keep from one call to the next (tables for a size), and tensors that were swapped, which
    `functional_call` fails to put back where two names are of one module.
    """
    kept = [(m, dict(vars(m)), dict(m._parameters), dict(m._buffers)) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, attributes, parameters, buffers in kept:
            for name in vars(module).keys() - attributes.keys():
                del vars(module)[name]
            vars(module).update(attributes)
            module._parameters.update(parameters)
            module._buffers.update(buffers)
