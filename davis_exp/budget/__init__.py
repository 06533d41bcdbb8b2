"""What a model costs, and the guard that refuses one that costs too much."""

from davis_exp.budget.cost import (
    FRAME,
    Cost,
    PartCost,
    check_runs,
    clip,
    count,
    fingerprint,
    inputs,
    measure,
    say_uncounted,
)
from davis_exp.budget.layers import Layer
from davis_exp.budget.limits import Limits, aims, guard, milliseconds
from davis_exp.models.empty import empty_weights

__all__ = [
    "FRAME",
    "Cost",
    "Layer",
    "Limits",
    "PartCost",
    "aims",
    "check_runs",
    "clip",
    "count",
    "empty_weights",
    "fingerprint",
    "guard",
    "inputs",
    "measure",
    "milliseconds",
    "say_uncounted",
]
