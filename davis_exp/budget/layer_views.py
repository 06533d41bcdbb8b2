"""The layers of a model to look at: a table for the screen, a picture, and rows for programs."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from davis_exp.budget import speed
from davis_exp.budget.cost import Cost
from davis_exp.budget.layers import Layer
from davis_exp.results.charts import Axis, Point, bars
from davis_exp.utils.errors import BadInput
from davis_exp.utils.tables import aligned

MB = 2**20
AROUND = 12  # lines of a terminal that the rest of the output takes
FEWEST = 15  # layers that are shown however low the terminal is
SHORTEST = 16  # letters of a layer's name, however narrow it is
KINDS = {"encoder": "first", "decoder": "second", "temporal": "other"}  # of a part's bars


@dataclass(frozen=True)
class Detailed:
    """A cost whose layers are shown, with their CPU milliseconds a frame: foretold, and measured, by name.

    Both are None where this machine, or the model, was not measured.
    """

    cost: Cost
    foretold: Mapping[str, float] | None = None
    measured: Mapping[str, float] | None = None
    whole: float | None = field(default=None)  # milliseconds a frame of the whole model, measured

    @classmethod
    def of(cls, cost: Cost, took: "speed.Timed | None" = None) -> "Detailed":
        """With the times that this machine's factors tell, where it was measured, and those that `took` tells.

        Raises BadInput for a model whose layers could not be counted.
        """
        if not cost.layers:
            raise BadInput(
                "--layers: this model computes with the values of its frames, so that its layers cannot be counted"
            )
        foretold = measured = whole = None
        if speed.path().exists():
            machine = speed.load()
            foretold = {x.name: 1e3 * machine.seconds(x.ops) / cost.frames for x in cost.layers}
        if took is not None:
            measured = {name: 1e3 * s / cost.frames for name, s in took.by_layer().items()}
            whole = 1e3 * took.whole / cost.frames
        return cls(cost, foretold, measured, whole)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, ready for JSON."""
        content = {**self.cost.to_dict(), "layers": self.rows()}
        if self.foretold is not None:
            machine = speed.load()
            content |= {
                "ms": sum(self.foretold.values()),
                "machine": machine.machine,
                "ms_error": machine.error,
            }
        return content if self.whole is None else content | {"measured_ms": self.whole}

    def rows(self) -> list[dict[str, Any]]:
        """One flat row a layer."""
        return [layer.to_dict() | self._times(layer) for layer in self.cost.layers]

    def _times(self, layer: Layer) -> dict[str, float]:
        times = {"ms": self.foretold, "measured_ms": self.measured}
        return {name: found.get(layer.name, 0.0) for name, found in times.items() if found is not None}


def as_text(detailed: Detailed) -> str:
    """The layers that cost the most, in the order in which they run, as many as a terminal has room for."""
    columns, lines = shutil.get_terminal_size((110, 50))
    room = max(FEWEST, lines - AROUND)
    rows = detailed.rows()
    weight = _weights(detailed)
    weight[max(range(len(rows)), key=lambda i: rows[i]["activations"])] = float(
        "inf"
    )  # the peak is always shown
    chosen = sorted(sorted(range(len(rows)), key=lambda i: -weight[i])[:room])
    timed = [name for name in ("ms", "measured_ms") if name in rows[0]]
    head = ["layer", "module", "parameters", "M mult-adds", "FLOPs/byte", "MB alive"]
    head += [{"ms": "ms, foretold", "measured_ms": "ms, measured"}[name] for name in timed]
    numbers = [_numbers(rows[i], timed) for i in chosen]
    rest = [row for i, row in enumerate(rows) if i not in set(chosen)]
    if rest:
        numbers.append(_numbers(_total(rest, timed), timed))
    numbers.append(_numbers(_total(rows, timed), timed))
    modules = [*(rows[i]["module"] for i in chosen), *[""] * (1 + bool(rest))]
    names = [
        *(rows[i]["name"] or "(model)" for i in chosen),
        *([f"{len(rest)} others"] if rest else []),
        "total",
    ]
    taken = max(map(len, [*modules, head[1]])) + 2
    taken += sum(2 + max(len(cell) for cell in column) for column in zip(head[2:], *numbers, strict=True))
    width = max(SHORTEST, columns - taken)
    table = [
        [shortened(name, width), module, *cells]
        for name, module, cells in zip(names, modules, numbers, strict=True)
    ]
    said = [*aligned([head, *table], text=2), "", *_said(detailed)]
    if rest:
        said.append(f"{len(chosen)} of {len(rows)} layers are shown; --json and --csv give all")
    return "\n".join(said)


def as_svg(detailed: Detailed) -> str:
    """Of each layer its multiply-adds, what lives meanwhile, and its time where that is known."""
    rows, cost = detailed.rows(), detailed.cost
    measures = [("multiply-adds a frame", "multiply_adds"), ("bytes alive", "activations")]
    times = [("ms a frame, foretold", "ms"), ("ms a frame, measured", "measured_ms")]
    measures += [(name, key) for name, key in times if key in rows[0]]
    x = Axis("layers, in the order in which they run", -0.5, len(rows) - 0.5)
    panels = []
    for name, key in measures:
        values = [row[key] for row in rows]
        y = Axis(name, 0, 1.06 * max(values) or 1)
        points = [
            Point(
                i,
                value,
                f"{row['name'] or 'model'} ({row['module']}): {value:,.6g}",
                KINDS.get(row["part"], ""),
            )
            for i, (row, value) in enumerate(zip(rows, values, strict=True))
        ]
        panels.append((y, points))
    parts = list(dict.fromkeys(row["part"] for row in rows))
    return bars(
        panels,
        x,
        [(part, KINDS.get(part, "")) for part in parts],
        f"layers at {cost.size[0]} x {cost.size[1]}",
    )


def shortened(name: str, width: int) -> str:
    """A dotted name in so many letters: its end says more than its beginning."""
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"


def _weights(detailed: Detailed) -> list[float]:
    """What the layers are chosen by: their time where it is known, or else their FLOPs."""
    rows = detailed.rows()
    key = next(name for name in ("measured_ms", "ms", "flops") if name in rows[0])
    return [row[key] for row in rows]


def _total(rows: Sequence[Mapping[str, Any]], timed: Sequence[str]) -> dict[str, Any]:
    summed = {
        key: sum(row[key] for row in rows)
        for key in ("parameters", "flops", "bytes", "multiply_adds", *timed)
    }
    intensity = summed["flops"] / summed["bytes"] if summed["bytes"] else 0.0
    return summed | {"intensity": intensity, "activations": max(row["activations"] for row in rows)}


def _numbers(row: Mapping[str, Any], timed: Sequence[str]) -> list[str]:
    return [
        f"{row['parameters']:,}",
        f"{row['multiply_adds'] / 1e6:,.2f}",
        f"{row['intensity']:,.1f}",
        f"{row['activations'] / MB:,.1f}",
        *(f"{row[name]:,.2f}" for name in timed),
    ]


def _said(detailed: Detailed) -> list[str]:
    cost = detailed.cost
    said = [
        f"of an output frame of {cost.size[0]} x {cost.size[1]}; MB alive: all activations while a layer runs"
    ]
    if cost.state:
        said.append(f"{cost.state / MB:,.1f} MB of them are the state from the frame before")
    if detailed.foretold is None:
        said.append("no times are foretold: this machine was not measured yet (davis-exp budget --measure)")
    else:
        machine = speed.load()
        said.append(
            f"ms are CPU time on {machine.machine}; foretold with a median error of {machine.error:.0%}"
        )
    if detailed.whole is not None:
        said.append(f"the whole model, measured: {detailed.whole:,.1f} ms a frame")
    return said
