"""What a model costs, part by part and layer by layer."""

import hashlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from davis_exp.budget.layers import Layer, layers
from davis_exp.budget.trace import Trace, tensors
from davis_exp.models.empty import evaluating, run_empty, shapes_of
from davis_exp.models.segmenter import Context, VideoSegmenter
from davis_exp.results.composition import both_counts, cost_table
from davis_exp.utils.errors import brief

log = logging.getLogger(__name__)

FRAME = (480, 854)
"""(H, W) of DAVIS at 480p, at which FLOPs are stated."""


@dataclass(frozen=True)
class PartCost:
    """One part's numbers of parameters and buffer elements, and its FLOPs per output frame if counted.

    Of the parameters, `statistics` are moving statistics of a Keras model, which Keras' own count has among them.
    """

    name: str
    parameters: int
    buffers: int
    flops: int | None = None
    statistics: int = 0


@dataclass(frozen=True)
class Cost:
    """What a model costs. FLOPs are 2 × multiply-adds per output frame of `size` (H, W).

    `activations` is the most memory, in bytes, that what one call computes holds at once, in float32; of a model that
    streams with the state before it and after it, of which `state` are the bytes. `frames` are the output frames that a
    call gives, `layers` what it does, where that was counted.
    """

    parts: tuple[PartCost, ...]
    size: tuple[int, int] = FRAME
    activations: int | None = None
    state: int = 0
    frames: float = 1.0
    layers: tuple[Layer, ...] = field(default=(), repr=False)

    @property
    def parameters(self) -> int:
        """Unique parameters, trainable or not, Keras models' by their own count: what a budget limits."""
        return sum(part.parameters for part in self.parts)

    @property
    def statistics(self) -> int:
        """Of the parameters, those that Keras' own count alone has among them."""
        return sum(part.statistics for part in self.parts)

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
            "state": self.state,
            "size": list(self.size),
            "parts": [
                {key: value for key, value in asdict(part).items() if value or key != "statistics"}
                for part in self.parts
            ],
        }

    def table(self) -> str:
        """Plain text, a line per part and one for the total."""
        return str(cost_table(self.to_dict()))

    def both_counts(self) -> str:
        """How many parameters there are by either framework's count, in a sentence."""
        return both_counts(self.parameters, self.statistics)


def count(model: nn.Module, flops: Mapping[str, int] | None = None) -> tuple[PartCost, ...]:
    """Parameters and buffers of each part; what parts share counts in the first that has it.

    A VideoSegmenter has its encoder, temporal part, decoder and flow; any other module is one part. `flops` of
    each part by its name, where they are known.
    """
    seen: set[Tensor] = set()  # tensors hash by identity
    nets: set[nn.Module] = set()

    def unseen(tensors: Iterator[Tensor]) -> int:
        new = [tensor for tensor in tensors if tensor not in seen]
        seen.update(new)
        return sum(tensor.numel() for tensor in new)

    def row(name: str, part: nn.Module) -> PartCost:
        fresh = {module for module in part.modules() if module not in nets}
        nets.update(fresh)
        statistics = sum(getattr(module, "moving_statistics", 0) for module in fresh)
        parameters = unseen(part.parameters()) + statistics
        return PartCost(name, parameters, unseen(part.buffers()), flops[name] if flops else None, statistics)

    rows = [row(name, part) for name, part in _parts(model)]
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
    seen: Iterable[tuple[int, int]] = (),
) -> Cost:
    """`count`, and FLOPs per output frame as inference runs the model: without arithmetic, on any device.

    Args:
        passes: how often the model is run over each clip (flips, scales).
        model: a segmenter, real or built under `empty_weights`; left as it was.
        size: (H, W) of the frames, before padding.
        window, step: frames per call and new frames per call, for a model that looks at windows of frames;
            by default what its context spans, and one. A model that streams, or takes frames one by one, is
            measured at one step whatever these say.
        seen: (H, W) of frames that it will be given: it must run on them.

    Raises:
        ValueError: it cannot run on frames that it will be given; says which part cannot.
    """
    length, step = clip(getattr(model, "context", None), window, step)
    for given in seen:
        check_runs(model, length, given)
    try:
        trace, state = _traced(model, torch.empty(1, length, 3, *size, device="meta"))
    except Exception as error:
        say_uncounted(error)
        return Cost(count(model), size)
    names = [name for name, _ in _parts(model)]
    found = layers(model, names, trace.ops, frames := step / passes)
    flops = {name: sum(layer.flops for layer in found if layer.part == name) for name in names}
    return Cost(count(model, flops), size, trace.peak, state, frames, found)


def check_runs(model: nn.Module, length: int, size: tuple[int, int]) -> None:
    """Run `model` on a clip of so many frames of `size` (H, W): without arithmetic, and where it needs values, with zeros.

    Raises ValueError if it cannot, saying which part: whatever a library's network raises of a size it cannot take.
    """
    clip = torch.empty(1, length, 3, *size, device="meta")
    try:
        run_empty(model, *inputs(model, clip))
    except Exception:
        clip = torch.zeros(1, length, 3, *size, device=next((p.device for p in model.parameters()), None))
        try:
            with evaluating(model), torch.no_grad():
                model(*inputs(model, clip))
        except Exception as error:
            part = _at_fault(model, error)
            raise ValueError(
                f"{part}: cannot run on frames of {size[0]} x {size[1]} ({type(error).__name__}: {brief(error)}): "
                f"choose another size (data.size), or another {part}"
            ) from error


def say_uncounted(error: Exception) -> None:
    """Parameters are what is limited: a part that computes with values must not hide them."""
    log.warning("FLOPs not counted: %s", brief(error))


def clip(context: Context, window: int | None, step: int) -> tuple[int, int]:
    """How many frames one call sees and how many of them are new, for a model of that context: see `measure`."""
    past, future = context or (0, 0)
    return (window or past + 1 + future, step) if past or future else (1, 1)


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts by name; the last is the model as a whole, for what no part before it has."""
    return (
        [*model.named_children(), ("rest", model)]
        if isinstance(model, VideoSegmenter)
        else [("model", model)]
    )


def inputs(model: nn.Module, clip: Tensor) -> tuple[Tensor, ...]:
    """What `model` is called with at the start of a clip: frames, and themselves for motion where it needs some."""
    return (clip, clip) if getattr(model, "needs_motion", False) else (clip,)


def streams(model: nn.Module) -> bool:
    """Whether it hands a state from call to call."""
    return getattr(model, "context", (0, 0)) is None


def next_inputs(given: Sequence[Any], state: Any) -> tuple[Any, ...]:
    """What a model that streams is called with after the first time."""
    frames, motion = (*given, None)[:2]
    return frames, motion, state


def _at_fault(model: nn.Module, error: Exception) -> str:
    """The part of `model` in which `error` was raised, by its name."""
    names = {id(part): name for name, part in _parts(model)[:-1]}
    traceback = error.__traceback__
    while traceback is not None:
        owner = traceback.tb_frame.f_locals.get("self")
        if id(owner) in names:
            return names[id(owner)]
        traceback = traceback.tb_next
    return "model"


def _traced(model: nn.Module, frames: Tensor) -> tuple[Trace, int]:
    """One call on `frames` (on the meta device), operator by operator, and the bytes of its state.

    Of a model that streams it is the second: the first has no state before it.
    """
    shapes, given = shapes_of(model), inputs(model, frames)
    state: Any = ()
    if streams(model):
        _, state = run_empty(model, *given, shapes=shapes)
        given = next_inputs(given, state)
    with Trace(model, [frames, *shapes.values()], tensors(state)) as trace:
        run_empty(model, *given, shapes=shapes)
    return trace, sum(tensor.nbytes for tensor in tensors(state))
