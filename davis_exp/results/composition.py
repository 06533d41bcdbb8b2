"""What a run is composed of, and what that costs, for people."""

from collections.abc import Mapping
from typing import Any

from davis_exp.utils.tables import Table, giga, number

GROUPS = (
    "experiment",
    "model",
    "encoder",
    "flow",
    "temporal",
    "decoder",
    "loss",
    "teacher",
    "optimizer",
    "scheduler",
    "data",
)
BESIDES = ("loss", "optimizer", "data")  # choices that are no parts of the model


def composition(choices: Mapping[str, str]) -> str:
    """What a run is composed of, in a line; "" where that is not known."""
    whole = choices.get("model", "composed") != "composed"
    left_out = ("encoder", "temporal", "decoder") if whole else ("model",)
    told = {group: choices.get(group, "None") for group in GROUPS if group not in left_out}
    return ", ".join(f"{group} {option}" for group, option in told.items() if option not in ("None", "none"))


def both_counts(parameters: int, statistics: int) -> str:
    """How many parameters there are by either framework's count, in a sentence."""
    return (
        f"by Keras' count, with {statistics:,} moving statistics, {parameters:,} parameters, which is held "
        f"against the limit; by torch's {parameters - statistics:,}"
    )


def cost_table(
    cost: Mapping[str, Any], choices: Mapping[str, str] | None = None, limit: int | None = None
) -> Table:
    """The parts of a model (`Cost.to_dict()`), the options they come from where known, what is left of the budget."""
    height, width = cost["size"]
    total, chosen = cost["parameters"], choices or {}

    def cells(name: str, part: Mapping[str, Any]) -> list[str]:
        share = f"{100 * part['parameters'] / total:.0f} %" if total else "-"
        option = [chosen.get(name, "")] if chosen else []
        return [
            name,
            *option,
            number(part["parameters"]),
            number(part["buffers"]),
            share,
            giga(part["flops"]),
        ]

    notes = [", ".join(f"{group} {chosen[group]}" for group in BESIDES if chosen.get(group))]
    if limit:
        left = "over" if total > limit else "under"
        used = f"{100 * total / limit:.0f} % of it"
        notes.append(f"{abs(limit - total):,} parameters {left} the budget of {limit:,} ({used})")
    if cost.get("activations") is not None:
        notes.append(f"peak activations of a call: {cost['activations'] / 2**20:,.0f} MB")
    if statistics := sum(part.get("statistics", 0) for part in cost["parts"]):
        notes.append(both_counts(total, statistics))
    option = ["option"] if chosen else []
    return Table(
        "Composition",
        ["part", *option, "parameters", "buffers", "share", f"GFLOPs per frame of {height} x {width}"],
        [cells(part["name"], part) for part in cost["parts"]],
        cells("total", cost),
        [note for note in notes if note],
        words=1 + len(option),
    )
