"""What a model costs, and the guard that refuses one that costs too much."""

from davis_exp.budget.cost import (
    FRAME,
    Cost,
    PartCost,
    check_runs,
    clip,
    count,
    fingerprint,
    guard,
    measure,
    say_uncounted,
)
from davis_exp.models.empty import empty_weights

__all__ = [
    "FRAME",
    "Cost",
    "PartCost",
    "check_runs",
    "clip",
    "count",
    "empty_weights",
    "fingerprint",
    "guard",
    "measure",
    "say_uncounted",
]
