"""What a model may cost, and the guard that refuses one that costs more."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from davis_exp.budget import speed
from davis_exp.budget.cost import Cost, count
from davis_exp.config import COSTS, LIMITED
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, OverBudget, choices

MB = 2**20
SAID: Mapping[str, Callable[[Any, Any], str]] = {
    "limit": lambda n, most: f"by {n - most:,}: the model has {n:,} parameters",
    "max_flops": lambda n, _: f"with {n:,.0f} FLOPs a frame",
    "max_activation_mb": lambda n, _: f"with {n:,.1f} MB of activations at once",
    "max_ms": lambda n, _: f"with {n:,.1f} ms a frame, as foretold for this machine",
}


@dataclass(frozen=True)
class Limits:
    """The most of each that a model may have; None: any.

    Args:
        limit: parameters.
        max_flops: FLOPs of an output frame.
        max_activation_mb: of memory for activations at once.
        max_ms: milliseconds of an output frame, foretold for one thread of this machine's CPU.
    """

    limit: int | None = None
    max_flops: float | None = None
    max_activation_mb: float | None = None
    max_ms: float | None = None

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Limits":
        """Those of the config's `budget`. Raises BadInput for one that is none."""
        values = {name: node.get(name) for name in cls.__dataclass_fields__}
        for name, value in values.items():
            if value is not None and not given.number(value, 0):
                raise BadInput(f"budget.{name}: must be a number of at least 0, or null for any, got {value}")
        return cls(**values)

    def to_dict(self) -> dict[str, float | None]:
        """Plain containers, ready for JSON."""
        return asdict(self)

    @property
    def traced(self) -> bool:
        """Whether more has to be known of a model than its parameters and FLOPs."""
        return self.max_activation_mb is not None or self.max_ms is not None

    def numbers(self, cost: Cost, *, timed: bool = False) -> dict[str, float | None]:
        """What status.json says of `cost` (`config.LIMITED`); the time only where it is limited, or asked for.

        Raises BadInput where it is, and this machine was not measured.
        """
        megabytes = None if cost.activations is None else cost.activations / MB
        found = {"nparams": cost.parameters, "nflops": cost.flops, "activation_mb": megabytes}
        return found if self.max_ms is None and not timed else found | {"ms": milliseconds(cost)}

    def over(self, cost: Cost) -> list[str]:
        """In what `cost` is over these, in words. Raises BadInput for what is limited and could not be counted."""
        numbers, said = self.numbers(cost), []
        for key, name in LIMITED.items():
            most = getattr(self, key)
            if most is None:
                continue
            if (value := numbers[name]) is None:
                raise BadInput(
                    f"budget.{key}: what this model costs could not be counted; set budget.{key}=null"
                )
            if value > most:
                said.append(f"{SAID[key](value, most)}, budget.{key} is {most:,.15g}")
        return said


def aims(node: Mapping[str, Any]) -> dict[str, float]:
    """What the config's `budget` has a search weigh scores by: `config.COSTS` → the number aimed at. Raises BadInput."""
    found = dict(node.get("aims") or {})
    for name, aim in found.items():
        if name not in COSTS:
            raise BadInput(f"budget.aims.{name}: no such cost{choices(str(name), COSTS)}")
        if not given.number(aim, 0) or aim == 0:
            raise BadInput(f"budget.aims.{name}: must be a number above 0, got {aim}")
    return found


def milliseconds(cost: Cost) -> float | None:
    """CPU milliseconds of an output frame on this machine, by what was measured of it; None if that was not counted.

    Raises BadInput where the machine was not measured.
    """
    machine = speed.load()
    if cost.activations is None:
        return None
    return 1e3 * sum(machine.seconds(layer.ops) for layer in cost.layers) / cost.frames


def guard(model: Cost | nn.Module, limits: Limits | int | None) -> None:
    """Raise OverBudget, with the table by part, if `model` costs more than `limits` (a number: of parameters).

    Raises BadInput for a limit of what could not be counted.
    """
    if not isinstance(limits, Limits):
        limits = Limits(limits)
    cost = model if isinstance(model, Cost) else Cost(count(model))
    if over := limits.over(cost):
        others = {
            name: value for name, value in limits.numbers(cost).items() if name not in ("nparams", "nflops")
        }
        counts = f" ({cost.both_counts()})" if cost.statistics else ""
        raise OverBudget(
            f"over budget {'; '.join(over)}{counts}", cost.table(), cost.parameters, cost.flops, **others
        )
