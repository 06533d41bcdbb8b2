"""The parts of a page about how a model was made: learning curves, cost, how to do it again."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from davis_exp.results.charts import Axis, Line, lines
from davis_exp.results.composition import cost_table
from davis_exp.results.pages.markup import bar, code, escape, facts, table
from davis_exp.results.pages.subject import Run

SMOOTHED = 40  # points from which on a learning curve gets a mean running over it
DRAWN = 600  # points of a curve at most


def learning_curves(run: Run | None) -> str:
    """A picture of each metric that was logged."""
    pictures = []
    metrics = run.metrics if run else {}
    x = Axis.over("step", [0, *(step for points in metrics.values() for step, _ in points)])
    for name, points in metrics.items():
        drawn = [Line("", points[:: -(-len(points) // DRAWN)], "first")]
        if len(points) >= SMOOTHED:
            drawn = [Line("running mean", _smoothed(points), "first"), Line("", drawn[0].points, "raw")]
        y = Axis.over(name, [value for _, value in points])
        pictures.append(f"<figure>{lines(drawn, x, y, f'{name} by step')}</figure>")
    return f'<div class="charts">{"".join(pictures)}</div>' if pictures else ""


def _smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means over a tenth of the points around each."""
    reach = len(points) // 20
    windows = ((x, points[max(0, i - reach) : i + reach + 1]) for i, (x, _) in enumerate(points))
    return [(x, sum(y for _, y in w) / len(w)) for x, w in windows][:: -(-len(points) // DRAWN)]


def costs(cost: Mapping[str, Any] | None, limit: int | None) -> str:
    """What each part costs, from `Cost.to_dict()`, and how much of the budget is left."""
    if not cost:
        return ""
    made, total = cost_table(cost, limit=limit), cost["parameters"]
    share = made.columns.index("share")
    rows: list[list[object]] = []
    for cells, part in zip((*made.rows, made.total), (*cost["parts"], cost), strict=True):
        drawn = bar(part["parameters"] / total if total else 0.0, cells[share])
        rows.append([*cells[:share], drawn, *cells[share + 1 :]])
    notes = "".join(f"<p>{escape(note)}</p>" for note in made.notes)
    return table([(made.columns[0], "text"), *made.columns[1:]], rows) + notes


def again(run: Run | None, status: Mapping[str, Any]) -> list[str]:
    """The commands that would do the run again, and what else it takes."""
    if run is None:
        return []
    revision = str(status.get("revision") or "")
    clean = revision.removesuffix("-dirty")
    overrides = [o for o in run.overrides if not o.startswith("hydra.run.dir=")]
    words = ["davis-exp", str(status.get("command") or "train"), *overrides]
    seed = run.config.get("seed")
    if seed is not None and not any(o.startswith("seed=") for o in overrides):
        words.append(f"seed={seed}")
    commands = [f"git checkout {clean}"] * bool(clean) + [" ".join(map(shlex.quote, words))]
    told = [
        ("revision", clean),
        ("seed", seed),
        ("state", status.get("state")),
        ("started", status.get("started")),
    ]
    told += [("config digest", str(status.get("digest") or "")[:16])]
    parts: list[str] = [code("\n".join(commands)), facts(told)]
    if clean != revision:
        parts.append(
            "<p>The checkout had changes that this revision does not hold: expect other numbers.</p>"
        )
    return parts
