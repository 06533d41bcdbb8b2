"""What a model costs, part by part, and the guard that refuses one that costs too much."""

import contextlib
import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from davis_exp.budget.activations import PeakActivations
from davis_exp.models.segmenter import Context, VideoSegmenter
from davis_exp.results.composition import cost_table
from davis_exp.utils.errors import OverBudget

log = logging.getLogger(__name__)

FRAME = (480, 854)
"""(H, W) of DAVIS at 480p, at which FLOPs are stated."""
CANNOT_RUN_EMPTY = (RuntimeError, NotImplementedError, TypeError, AttributeError)
"""What a part that needs data raises on the meta device."""


@dataclass(frozen=True)
class PartCost:
    """One part's numbers of parameters and buffer elements, and its FLOPs per output frame if counted."""

    name: str
    parameters: int
    buffers: int
    flops: int | None = None


@dataclass(frozen=True)
class Cost:
    """What a model costs. FLOPs are 2 × multiply-adds per output frame of `size` (H, W).

    `activations` is the most memory, in bytes, that what one call computes holds at once, in float32.
    """

    parts: tuple[PartCost, ...]
    size: tuple[int, int] = FRAME
    activations: int | None = None

    @property
    def parameters(self) -> int:
        """Unique parameters, trainable or not: what a budget limits."""
        return sum(part.parameters for part in self.parts)

    @property
    def buffers(self) -> int:
        """Elements of the buffers, such as running statistics."""
        return sum(part.buffers for part in self.parts)

    @property
    def flops(self) -> int | None:
        """FLOPs per output frame; None if they were not, or could not be, counted."""
        counted = [part.flops for part in self.parts if part.flops is not None]
        return sum(counted) if counted else None

    def to_dict(self) -> dict:
        """Plain containers, ready for JSON."""
        totals = {"parameters": self.parameters, "buffers": self.buffers, "flops": self.flops}
        return {
            **totals,
            "activations": self.activations,
            "size": list(self.size),
            "parts": [asdict(part) for part in self.parts],
        }

    def table(self) -> str:
        """Plain text, a line per part and one for the total."""
        return str(cost_table(self.to_dict()))


def count(model: nn.Module, flops: Mapping[str, int] | None = None) -> tuple[PartCost, ...]:
    """Parameters and buffers of each part; what parts share counts in the first that has it.

    A VideoSegmenter has its encoder, temporal part, decoder and flow; any other module is one part. `flops` of
    each part by its name, where they are known.
    """
    seen: set[Tensor] = set()  # tensors hash by identity

    def unseen(tensors: Iterator[Tensor]) -> int:
        new = [tensor for tensor in tensors if tensor not in seen]
        seen.update(new)
        return sum(tensor.numel() for tensor in new)

    rows = [
        PartCost(name, unseen(part.parameters()), unseen(part.buffers()), flops[name] if flops else None)
        for name, part in _parts(model)
    ]
    rest = rows[-1]
    return tuple(rows if rest.parameters or rest.buffers or rest.flops or len(rows) == 1 else rows[:-1])


def fingerprint(module: nn.Module) -> str:
    """A digest (hex) of a module's class, names and values: equal ones compute the same."""
    digest = hashlib.blake2b(type(module).__qualname__.encode(), digest_size=16)
    for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def measure(
    model: nn.Module,
    *,
    size: tuple[int, int] = FRAME,
    window: int | None = None,
    step: int = 1,
    passes: float = 1.0,
) -> Cost:
    """`count`, and FLOPs per output frame as inference runs the model: without arithmetic, on any device.

    Args:
        passes: how often the model is run over each clip (flips, scales).
        model: a segmenter, real or built under `empty_weights`; left as it was.
        size: (H, W) of the frames, before padding.
        window, step: frames per call and new frames per call, for a model that looks at windows of frames;
            by default what its context spans, and one. A model that streams, or takes frames one by one, is
            measured at one step whatever these say.
    """
    length, step = clip(getattr(model, "context", None), window, step)
    frames = torch.empty(1, length, 3, *size, device="meta")
    try:
        counted, activations = _run_empty(model, frames)
    except CANNOT_RUN_EMPTY as error:
        # Parameters are what is limited: a part that cannot run without data must not hide them.
        log.warning("FLOPs not counted: %s", next(iter(str(error).splitlines()), type(error).__name__))
        return Cost(count(model), size)
    flops = {name: round(n * passes / step) for name, n in counted.items()}
    return Cost(count(model, flops), size, activations)


def clip(context: Context, window: int | None, step: int) -> tuple[int, int]:
    """How many frames one call sees and how many of them are new, for a model of that context: see `measure`."""
    past, future = context or (0, 0)
    return (window or past + 1 + future, step) if past or future else (1, 1)


def guard(model: Cost | nn.Module, limit: int | None) -> None:
    """Raise OverBudget, with the table by part, if `model` has more than `limit` parameters (None: any)."""
    cost = model if isinstance(model, Cost) else Cost(count(model))
    if limit is not None and cost.parameters > limit:
        raise OverBudget(
            f"over budget by {cost.parameters - limit:,}: the model has {cost.parameters:,} parameters, "
            f"budget.limit is {limit:,}",
            cost.table(),
            cost.parameters,
            cost.flops,
        )


@contextlib.contextmanager
def empty_weights() -> Iterator[None]:
    """Modules built inside have their parameters on the meta device: shapes, without memory or values.

    Each parameter moves as it is registered. `torch.device("meta")` would move every tensor that a
    constructor makes, and fails where one computes with values (MiT's drop-path rates). It acts on the whole
    process: build one model at a time.
    """
    register = nn.Module.register_parameter
    twins: dict[nn.Parameter, nn.Parameter] = {}  # a parameter registered twice stays shared

    def register_empty(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            if param not in twins:
                twins[param] = nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
            param = twins[param]
        register(module, name, param)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts by name; the last is the model as a whole, for what no part before it has."""
    return (
        [*model.named_children(), ("rest", model)]
        if isinstance(model, VideoSegmenter)
        else [("model", model)]
    )


def _run_empty(model: nn.Module, frames: Tensor) -> tuple[dict[str, int], int]:
    """One call on `frames` (on the meta device): its FLOPs by part, and its peak activations in bytes."""
    inputs = (frames, frames) if getattr(model, "needs_motion", False) else (frames,)
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    empty = {name: tensor.to("meta") for name, tensor in tensors}
    with (
        _evaluating(model),
        torch.no_grad(),
        FlopCounterMode(display=False) as counter,
        PeakActivations([frames, *empty.values()]) as activations,
    ):
        functional_call(model, empty, inputs)
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    *parts, (rest, _) = _parts(model)
    flops = {name: counts.get(f"{type(model).__name__}.{name}", 0) for name, _ in parts}
    flops[rest] = counts.get("Global", 0) - sum(flops.values())
    return flops, activations.peak


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
