"""What a model costs, and the guard that refuses one that costs too much."""

from davis_exp.budget.cost import (
    CANNOT_RUN_EMPTY,
    FRAME,
    Cost,
    PartCost,
    clip,
    count,
    empty_weights,
    fingerprint,
    guard,
    measure,
)

__all__ = [
    "CANNOT_RUN_EMPTY",
    "FRAME",
    "Cost",
    "PartCost",
    "clip",
    "count",
    "empty_weights",
    "fingerprint",
    "guard",
    "measure",
]
