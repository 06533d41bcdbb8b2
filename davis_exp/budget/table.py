"""What a model costs, as a table for people on a terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from davis_exp.utils.terminal import rich_table

if TYPE_CHECKING:
    from rich.table import Table

GROUPS = (
    "experiment",
    "model",
    "encoder",
    "flow",
    "temporal",
    "decoder",
    "loss",
    "optimizer",
    "scheduler",
    "data",
)


def composition(choices: Mapping[str, str]) -> str:
    """What a run is composed of, in a line; "" where that is not known."""
    whole = choices.get("model", "composed") != "composed"
    left_out = ("encoder", "temporal", "decoder") if whole else ("model",)
    told = {group: choices.get(group, "None") for group in GROUPS if group not in left_out}
    return ", ".join(f"{group} {option}" for group, option in told.items() if option not in ("None", "none"))


def cost_table(cost: Mapping[str, Any], choices: Mapping[str, str], limit: int | None) -> "Table":
    """The parts of a model (`Cost.to_dict()`), the options that they come from, and what is left of the budget."""
    height, width = cost["size"]
    columns = ["part", "option", "parameters", "share", f"GFLOPs at {height} x {width}"]
    table = rich_table("Composition", columns, text=2)
    total = cost["parameters"]
    for part in cost["parts"]:
        table.add_row(part["name"], choices.get(part["name"], ""), *_numbers(part, total))
    table.add_section()
    table.add_row("total", "", *_numbers(cost, total), style="bold")
    notes = [f"{group} {choices[group]}" for group in ("loss", "optimizer", "data") if choices.get(group)]
    if limit:
        notes.append(f"{100 * total / limit:.0f} % of the budget of {limit:,}")
    table.caption = ", ".join(notes)
    return table


def _numbers(part: Mapping[str, Any], total: int) -> list[str]:
    share = f"{100 * part['parameters'] / total:.0f} %" if total else "-"
    flops = "-" if part["flops"] is None else f"{part['flops'] / 1e9:,.2f}"
    return [f"{part['parameters']:,}", share, flops]
