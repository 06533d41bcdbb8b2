"""How long a model takes on this machine, foretold from what it does: operators measured once, then a sum.

The time of an operator is taken for a sum of its FLOPs, of the bytes that it moves, of those that the system has to give,
and of a constant, with factors for each kind of operator (`trace.kind`), fitted by non-negative least squares. All times
are CPU seconds of one thread: what other programs do at the same time matters least to them.
"""

import contextlib
import functools
import hashlib
import platform
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from davis_exp.budget.cost import next_inputs, streams
from davis_exp.budget.trace import Op, Operators, Trace, computes, tensors
from davis_exp.models.empty import evaluating
from davis_exp.models.memory_format import channels_last
from davis_exp.results.output import write_json
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

TERMS = ("flops", "bytes", "fresh", "calls")  # of an operator's time
Terms = tuple[float, float, float, float]
SHORTEST = 1e-5  # seconds, below which a measured time is mostly the clock's
FORMAT = 1


@dataclass(frozen=True)
class Timed:
    """What one call of a model does and took: an operator each, with its seconds, and the seconds of all of it."""

    ops: tuple[Op, ...]
    seconds: tuple[float, ...]
    whole: float

    def by_layer(self) -> dict[str, float]:
        """Seconds of each layer."""
        found: dict[str, float] = {}
        for op, seconds in zip(self.ops, self.seconds, strict=True):
            found[op.layer] = found.get(op.layer, 0.0) + seconds
        return found


@dataclass(frozen=True)
class Speed:
    """A machine's factors, for each kind of operator those of `TERMS`.

    `error` is the median of what was wrong (0.1: by 10 %) with compositions that had been left out of the fit.
    """

    factors: Mapping[str, tuple[float, ...]]
    error: float
    machine: str

    def seconds(self, ops: Iterable[Op]) -> float:
        """CPU seconds of one thread that `ops` take."""
        return sum(float(np.dot(self._of(op.kind), _terms(op))) for op in ops)

    def _of(self, kind: str) -> tuple[float, ...]:
        """The factors of a kind; of one that was never measured those of the one most like it."""
        alike = (kind, *(name for name in self.factors if kind.startswith(name)))
        rest = "convolution" if "grouped" in kind and "convolution" in self.factors else "elementwise"
        return next(self.factors[name] for name in (*alike, rest) if name in self.factors)


def timed(model: nn.Module, inputs: Sequence[Any], *, rounds: int = 3) -> Timed:
    """One call of `model`, which has values, on a CPU, each operator and the whole as medians of `rounds`.

    Its weights are laid out as inference has them. Of a model that streams it is the second call.
    """
    with _ready(model, inputs) as given:
        with Trace(model, [*model.parameters(), *model.buffers(), *tensors(given)]) as trace:
            model(*given)
        wholes, runs = zip(
            *[(_whole(model, given), _seconds(model, given)) for _ in range(rounds)], strict=True
        )
    medians = tuple(statistics.median(each) for each in zip(*runs, strict=True))
    if len(medians) != len(trace.ops):
        raise ValueError(
            "this model does not do the same in each call: the time of its layers cannot be measured"
        )
    return Timed(tuple(trace.ops), medians, statistics.median(wholes))


def whole(model: nn.Module, inputs: Sequence[Any], *, rounds: int = 3) -> list[float]:
    """As `timed`, all of the call at once: CPU seconds of each round."""
    with _ready(model, inputs) as given:
        return [_whole(model, given) for _ in range(rounds)]


def fit(measured: Sequence[Timed]) -> Speed:
    """The factors of this machine, from compositions that were measured on it, and how far they are wrong."""
    wrong = []
    for i, left_out in enumerate(measured):
        speed = Speed(_factors([one for j, one in enumerate(measured) if j != i]), 0.0, "")
        wrong.append(abs(speed.seconds(left_out.ops) / left_out.whole - 1))
    return Speed(_factors(measured), statistics.median(wrong), machine())


def save(speed: Speed) -> None:
    """Keep `speed` for this machine, in the user's cache. Raises CannotWrite."""
    content = {"format": FORMAT, "machine": speed.machine, "error": speed.error, "terms": list(TERMS)}
    write_json(path(), content | {"factors": {k: list(f) for k, f in speed.factors.items()}})


@functools.cache
def load() -> Speed:
    """What was measured on this machine. Raises BadInput where nothing was, or what there is cannot be used."""
    file = path()
    if not file.exists():
        raise BadInput(
            "how fast this machine is was not measured yet; measure it: davis-exp budget --measure (a minute or two)"
        )
    content = given.read_json(file)
    try:
        factors = {str(kind): tuple(map(float, found)) for kind, found in content["factors"].items()}
        known = content["format"] == FORMAT and content["machine"] == machine()
        numbers = [content["error"], *(factor for found in factors.values() for factor in found)]
        if not known or not all(given.number(number, 0) for number in numbers):
            raise ValueError
        if {len(found) for found in factors.values()} != {len(TERMS)} or "elementwise" not in factors:
            raise ValueError
        return Speed(factors, float(content["error"]), content["machine"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadInput(
            f"{given.shown(file)} is no measurement of this machine; measure it anew: davis-exp budget --measure"
        ) from None


def path() -> Path:
    """Where the measurement of this machine is kept."""
    from davis_exp.data.cache import default_folder

    return default_folder("speed") / f"{hashlib.sha256(machine().encode()).hexdigest()[:16]}.json"


@functools.cache
def machine() -> str:
    """What times depend on beside the model."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor
        )
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{processor}, {capability}, {platform.system()}, torch {torch.__version__}, 1 thread"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, PyTorch computes with one thread: others that wait for it would count as CPU time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _ready(model: nn.Module, inputs: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Inside, `model` is as inference has it, and warm; gives what it is then called with."""
    channels_last(model)
    with evaluating(model), torch.inference_mode(), one_thread():
        made = model(*inputs)
        yield next_inputs(inputs, made[1]) if streams(model) else inputs


def _whole(model: nn.Module, inputs: Sequence[Any]) -> float:
    began = time.thread_time()
    model(*inputs)
    return time.thread_time() - began


def _seconds(model: nn.Module, inputs: Sequence[Any]) -> list[float]:
    """One call: the CPU seconds of each operator that computes."""
    found = []

    def call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        began = time.thread_time_ns()
        made = func(*args, **kwargs)
        ended = time.thread_time_ns()
        if computes(func, tensors((args, kwargs)), tensors(made)):
            found.append((ended - began) / 1e9)
        return made

    with Operators(call):
        model(*inputs)
    return found


def _terms(op: Op) -> Terms:
    return op.flops / 1e9, op.bytes / 1e9, op.fresh / 1e9, 1e-6


def _factors(measured: Sequence[Timed]) -> dict[str, tuple[float, ...]]:
    """For each kind the factors that fit best, and whose sum over all that was measured is right."""
    from scipy.optimize import nnls

    rows: dict[str, list[tuple[Terms, float]]] = {}
    for one in measured:
        for op, took in zip(one.ops, one.seconds, strict=True):
            rows.setdefault(op.kind, []).append((_terms(op), took))
    factors = {}
    for kind, found in rows.items():
        terms, seconds = (np.array(column) for column in zip(*found, strict=True))
        weights = 1 / np.sqrt(np.maximum(seconds, SHORTEST))  # errors grow with the time
        fitted, _ = nnls(terms * weights[:, None], seconds * weights)
        told = float((terms @ fitted).sum())
        factors[kind] = fitted * (float(seconds.sum()) / told if told else 1.0)
    # What lies between the operators: Python, and the modules' own bookkeeping.
    beside = statistics.median(one.whole / sum(one.seconds) for one in measured)
    return {kind: tuple(float(factor * beside) for factor in fitted) for kind, fitted in factors.items()}
