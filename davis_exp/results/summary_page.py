"""The page of a sweep: its table and pictures, in one file that asks for nothing from outside."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from davis_exp.results import charts
from davis_exp.results.charts import Axis, Point, scatter, strips
from davis_exp.results.summary import WAITING, Group, Row, front, groups, headings
from davis_exp.results.table import percent

TAIL = 30  # lines of a failed job's log
MANY = 8  # values of an override from which on numbers become an axis
CSS = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid #ddd; }
th { position: sticky; top: 0; background: #fff; }
.text { text-align: left; }
.finished { color: #1d7a3a; } .failed, .bad_input, .interrupted { color: #c0392b; } .over_budget { color: #8a5a00; }
.aside { color: #888; }
pre { background: #f6f6f6; padding: .7rem; overflow-x: auto; font-size: 12px; }
.wide { overflow-x: auto; }
"""


def page(name: str, rows: Sequence[Row]) -> str:
    """The whole page as HTML.

    Arguments:
        rows: as `summary.rows` gives them.
    """
    states = [row.state for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    cost = sum(row.seconds or 0.0 for row in rows)
    sections = [
        f"<h1>Sweep {html.escape(name)}</h1>",
        f"<p>{len(rows)} jobs: {html.escape(counts)}; {cost / 60:,.1f} minutes altogether. The order, the front "
        "and the effects go by J on held-out training clips.</p>",
        _table(rows),
        _seeds(groups(rows)),
        _parameters(rows),
        *_effects(rows),
        *_failures(rows),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>Sweep {html.escape(name)}</title>\n'
        f"<style>{CSS}{charts.STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, sections))
        + "\n</body></html>\n"
    )


def _table(rows: Sequence[Row]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row.choices))
    scores = headings(rows)
    columns: list[tuple[str, str, Callable[[Row], str]]] = [("job", "", lambda row: row.job)]
    columns += [(key, "text", lambda row, key=key: row.choices.get(key, "")) for key in keys]  # type: ignore[misc]
    columns += [
        ("state", "text", lambda row: row.state),
        ("hold-out J", "", lambda row: percent(row.objective)),
        ("parameters", "", lambda row: _number(row.parameters)),
        ("GFLOPs", "", lambda row: "-" if row.flops is None else f"{row.flops / 1e9:,.2f}"),
    ]
    columns += [(h, "aside", lambda row, h=h: percent(row.scores.get(h))) for h in scores]  # type: ignore[misc]
    columns += [("seconds", "", lambda row: "-" if row.seconds is None else f"{row.seconds:,.0f}")]
    head = "".join(f'<th class="{css}">{html.escape(title)}</th>' for title, css, _ in columns)
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td class="{css} {html.escape(row.state) if title == "state" else ""}">{html.escape(cell(row))}</td>'
            for title, css, cell in columns
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _seeds(groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    keys = list(groups[0].choices)
    head = "".join(f'<th class="text">{html.escape(key)}</th>' for key in keys)
    body = "\n".join(
        "<tr>"
        + "".join(f'<td class="text">{html.escape(group.choices[key])}</td>' for key in keys)
        + f"<td>{percent(group.mean)} ± {percent(group.deviation)}</td><td>{group.number}</td></tr>"
        for group in groups
    )
    return (
        f"<h2>Seeds together</h2><table><thead><tr>{head}<th>hold-out J, mean ± deviation</th><th>seeds</th></tr>"
        f"</thead><tbody>\n{body}\n</tbody></table>"
    )


def _parameters(rows: Sequence[Row]) -> str:
    best = {row.job for row in front(rows)}
    points = [
        Point(
            row.parameters,
            100 * row.objective,
            f"job {row.job}: {row.name}: {percent(row.objective)}, {row.parameters:,} parameters",
            "best" if row.job in best else "",
            row.job if row.job in best else "",
        )
        for row in rows
        if row.objective is not None and row.parameters is not None
    ]
    if not points:
        return ""
    limits = {row.limit for row in rows}
    limit = limits.pop() if len(limits) == 1 else None
    picture = scatter(
        sorted(points, key=lambda point: point.kind),
        Axis.over("parameters", [point.x for point in points], log=True),
        Axis.over("hold-out J in percent", [point.y for point in points]),
        front=[point for point in points if point.kind == "best"],
        limit=limit,
        limit_text="budget",
    )
    return f"<h2>Score against parameters</h2><p>With the Pareto front; numbers are jobs.</p>\n{picture}"


def _effects(rows: Sequence[Row]) -> list[str]:
    done = [row for row in rows if row.objective is not None]
    sections = []
    for key in dict.fromkeys(key for row in done for key in row.choices):
        values = list(dict.fromkeys(row.choices[key] for row in done))
        if len(values) < 2:
            continue
        numbers = [_float(value) for value in values]
        axis = Axis.over("hold-out J in percent", [100 * (row.objective or 0.0) for row in done])
        if len(values) >= MANY and None not in numbers:
            known = [number for number in numbers if number is not None]
            x = Axis.over(key, known, log=min(known) > 0 and max(known) / min(known) >= 10)
            picture = scatter([_point(row, _float(row.choices[key]) or 0.0) for row in done], x, axis)
        else:
            ordered = sorted(values, key=lambda v: (_float(v) is None, _float(v) or 0.0))
            picture = strips(
                {v: [_point(r) for r in done if r.choices[key] == v] for v in ordered}, axis, key
            )
        sections.append(f"<h2>Effect of {html.escape(key)}</h2>\n{picture}")
    return sections


def _failures(rows: Sequence[Row]) -> list[str]:
    sections = []
    for row in rows:
        if not row.failed or row.state in WAITING:
            continue
        title = f"Job {row.job} ({row.state}): {row.error}"
        parts = [
            ("traceback", _read(row.folder / "error.txt")),
            ("end of its log", _read(row.folder / "train.log")),
        ]
        shown = "".join(f"<p>{label}</p><pre>{html.escape(text)}</pre>" for label, text in parts if text)
        sections.append(f"<details><summary>{html.escape(title)}</summary>{shown}</details>")
    return ["<h2>What went wrong</h2>", *sections] if sections else []


def _point(row: Row, x: float = 0.0) -> Point:
    return Point(x, 100 * (row.objective or 0.0), f"job {row.job}: {row.name}: {percent(row.objective)}")


def _read(file: Path) -> str:
    """The last lines of a file; "" if it is not there."""
    try:
        with file.open("rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - 200 * TAIL))
            return "\n".join(handle.read().decode(errors="replace").splitlines()[-TAIL:])
    except OSError:
        return ""


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
