"""The atlas to look at: a table for the screen, a picture, and rows for programs."""

from collections.abc import Iterable, Sequence
from typing import Any

from davis_exp.experiment.atlas import Entry
from davis_exp.results.charts import Axis, Point, scatter, short
from davis_exp.utils.tables import aligned

NAMED = 3  # combinations that a refusal names where they make no rectangle


def as_text(entries: Sequence[Entry]) -> str:
    """The table by parameters with the limit drawn in, the refusals with their reasons, and what stands for more.

    Arguments:
        entries: as `ranked` gives them.
    """
    counted = [entry for entry in entries if entry.cost is not None]
    refused = [entry for entry in entries if entry.refused is not None]
    keys = list(entries[0].choices) if entries else []
    blocks = [_table(counted, keys)] if counted else []
    if refused:
        blocks.append("\n".join([f"refused: {len(refused)} of {len(entries)}", *_refusals(refused, keys)]))
    notes = sorted({note for entry in entries for note in entry.notes})
    over = sum(entry.over for entry in counted)
    total = (
        f"{len(entries)} combinations: {len(counted) - over} in budget, {over} over, {len(refused)} refused"
    )
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else []), total])


def as_dict(entries: Sequence[Entry]) -> dict[str, Any]:
    """Plain containers, ready for JSON."""
    counted = [
        {
            "choices": entry.choices,
            "limit": entry.limit,
            "over": entry.over,
            "front": entry.front,
            **entry.cost.to_dict(),
        }
        for entry in entries
        if entry.cost is not None
    ]
    refused = [{"choices": e.choices, "reason": e.refused} for e in entries if e.refused is not None]
    notes = sorted({note for entry in entries for note in entry.notes})
    return {"combinations": counted, "refused": refused, "notes": notes}


def as_csv(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One flat row a combination, refused ones too."""
    return [
        {
            **entry.choices,
            "parameters": entry.cost.parameters if entry.cost else None,
            "flops": entry.cost.flops if entry.cost else None,
            "limit": entry.limit,
            "over": entry.over,
            "front": entry.front,
            "refused": entry.refused,
        }
        for entry in entries
    ]


def as_svg(entries: Sequence[Entry]) -> str:
    """Parameters against FLOPs, with the Pareto front and the limit."""
    counted = [(e, e.cost.parameters, e.cost.flops) for e in entries if e.cost and e.cost.flops is not None]
    points = []
    for entry, parameters, flops in counted:
        name = " ".join(entry.choices.values())
        kind = "best" if entry.front else "bad" if entry.over else ""
        text = f"{name}: {parameters:,} parameters, {flops / 1e9:,.2f} GFLOPs"
        points.append(Point(parameters, flops, text, kind, name if entry.front else ""))
    limits = {entry.limit for entry, _, _ in counted} - {None}
    limit = limits.pop() if len(limits) == 1 else None
    parameters_axis = Axis.over("parameters", [p for _, p, _ in counted] + [limit or 1], log=True)
    flops_axis = Axis.over("FLOPs per frame of 480 x 854", [f for _, _, f in counted], log=True)
    return scatter(
        sorted(points, key=lambda point: point.kind),  # the front is drawn last but for those over budget
        parameters_axis,
        flops_axis,
        front=[point for point in points if point.kind == "best"],
        limit=limit,
        limit_text=f"limit {short(limit or 0)}",
    )


def _table(counted: Sequence[Entry], keys: list[str]) -> str:
    rows = [[*keys, "parameters", "GFLOPs", ""]]
    for entry in counted:
        assert entry.cost is not None
        flops = "-" if entry.cost.flops is None else f"{entry.cost.flops / 1e9:,.2f}"
        past = entry.limit is not None and entry.cost.parameters > entry.limit
        mark = " ".join(["front"] * entry.front + ["over"] * (entry.over and not past))
        rows.append([*(entry.choices[key] for key in keys), f"{entry.cost.parameters:,}", flops, mark])
    head, *lines = aligned(rows, text=len(keys))
    limited = [e for e in counted if e.cost and e.limit is not None and e.cost.parameters > e.limit]
    within = len(counted) - len(limited)
    limits = {entry.limit for entry in counted}
    if len(limits) == 1 and (limit := limits.pop()) is not None:
        lines.insert(within, f"---- budget.limit {limit:,} ".ljust(max(map(len, lines)), "-"))
    return "\n".join([head, *lines])


def _refusals(refused: Sequence[Entry], keys: list[str]) -> Iterable[str]:
    """Each reason once, with the combinations it holds for."""
    by_reason: dict[str, list[Entry]] = {}
    for entry in refused:
        by_reason.setdefault(str(entry.refused), []).append(entry)
    for reason, group in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        yield f"  {len(group)} x {reason}"
        values = {key: sorted({entry.choices[key] for entry in group}) for key in keys}
        size = 1
        for chosen in values.values():
            size *= len(chosen)
        if size == len(group):
            yield "    " + " ".join(f"{key}={','.join(chosen)}" for key, chosen in values.items())
            continue
        for entry in group[:NAMED]:
            yield "    " + " ".join(f"{key}={value}" for key, value in entry.choices.items())
        if len(group) > NAMED:
            yield f"    and {len(group) - NAMED} more (--json or --csv names all)"
