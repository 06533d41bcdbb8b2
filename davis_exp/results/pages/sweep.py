"""The page of a sweep: its table and pictures, in one file that asks for nothing from outside."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from davis_exp.metrics.measures import HOLDOUT, SELECTED
from davis_exp.results.charts import Axis, Point, scatter, strips
from davis_exp.results.output import write_text
from davis_exp.results.pages import markup
from davis_exp.results.pages.markup import Column, Html, escape, folded, section, table
from davis_exp.results.summary import WAITING, Group, Row, front, gained, groups, headings
from davis_exp.results.table import percent
from davis_exp.utils.tables import giga, number

REPORT = "report.html"  # as `davis-exp report` calls the page of a run
TAIL = 30  # lines of a failed job's log
MANY = 8  # values of an override from which on numbers become an axis


def write(sweep: Path, rows: Sequence[Row]) -> None:
    """Writes summary.html into the folder `sweep`. Raises BadInput if it cannot be written."""
    partial = sweep / ".summary.html"
    write_text(partial, page(sweep.name, rows))
    partial.replace(sweep / "summary.html")  # readers never see half of it


def page(name: str, rows: Sequence[Row]) -> str:
    """The whole page as HTML.

    Arguments:
        rows: as `summary.rows` gives them.
    """
    states = [row.state for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    cost = sum(row.seconds or 0.0 for row in rows)
    return markup.page(
        f"Sweep {name}",
        [
            f"<h1>Sweep {escape(name)}</h1>",
            f"<p>{len(rows)} jobs: {escape(counts)}; {cost / 60:,.1f} minutes altogether. The order, the front "
            f"and the effects go by {SELECTED.name} on held-out training clips.</p>",
            _local(rows),
            _table(rows),
            section("Seeds and folds together", _groups(groups(rows))),
            section("Score against parameters", *_parameters(rows)),
            *_effects(rows),
            section("What went wrong", *_failures(rows)),
        ],
    )


def _local(rows: Sequence[Row]) -> str:
    own = list(dict.fromkeys(said for row in rows for said in row.local))
    return f"<p>From conf/local.yaml: {escape(', '.join(own))}.</p>" if own else ""


def _table(rows: Sequence[Row]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row.choices))
    scores = headings(rows)
    columns: list[Column] = ["job", *((key, "text") for key in keys), ("state", "text"), HOLDOUT]
    columns += ["parameters", "GFLOPs", *((heading, "aside") for heading in scores), "seconds"]
    return table(
        columns,
        [
            [
                _links(row),
                *(row.choices.get(key, "") for key in keys),
                Html(f'<span class="{escape(row.state)}">{escape(row.state)}</span>'),
                percent(row.objective),
                number(row.parameters),
                giga(row.flops),
                *(row.texts.get(heading, "-") for heading in scores),
                number(row.seconds, ",.0f"),
            ]
            for row in rows
        ],
        below=[
            "" if row.state in WAITING else row.error for row in rows
        ],  # not what an attempt before died of
    )


def _links(row: Row) -> Html:
    """The job's number, which leads to its folder beside the page, and a link to the report if it has one."""
    place = escape(quote(row.folder.name))
    links = f'<a href="{place}/" title="its folder">{escape(row.job)}</a>'
    if (row.folder / REPORT).is_file():
        links = f'<a href="{place}/{REPORT}">report</a> {links}'
    return Html(links)


def _groups(groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    keys = list(groups[0].choices)
    return table(
        [*((key, "text") for key in keys), f"{HOLDOUT}, mean ± deviation", "trainings", "gain, one by one"],
        [
            [
                *(group.choices[key] for key in keys),
                f"{percent(group.mean)} ± {percent(group.deviation)}",
                group.number,
                gained(group),
            ]
            for group in groups
        ],
    )


def _parameters(rows: Sequence[Row]) -> list[str]:
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
        return []
    limits = {row.limit for row in rows}
    limit = limits.pop() if len(limits) == 1 else None
    picture = scatter(
        sorted(points, key=lambda point: point.kind),
        Axis.over("parameters", [point.x for point in points], log=True),
        Axis.over(f"{HOLDOUT} in percent", [point.y for point in points]),
        front=[point for point in points if point.kind == "best"],
        limit=limit,
        limit_text="budget",
    )
    return ["<p>With the Pareto front; numbers are jobs.</p>", picture]


def _effects(rows: Sequence[Row]) -> list[str]:
    done = [row for row in rows if row.objective is not None]
    sections: list[str] = []
    for key in dict.fromkeys(key for row in done for key in row.choices):
        values = list(dict.fromkeys(row.choices[key] for row in done))
        if len(values) < 2:
            continue
        numbers = [_float(value) for value in values]
        axis = Axis.over(f"{HOLDOUT} in percent", [100 * (row.objective or 0.0) for row in done])
        if len(values) >= MANY and None not in numbers:
            known = [number for number in numbers if number is not None]
            x = Axis.over(key, known, log=min(known) > 0 and max(known) / min(known) >= 10)
            picture = scatter([_point(row, _float(row.choices[key]) or 0.0) for row in done], x, axis)
        else:
            ordered = sorted(values, key=lambda v: (_float(v) is None, _float(v) or 0.0))
            picture = strips(
                {v: [_point(r) for r in done if r.choices[key] == v] for v in ordered}, axis, key
            )
        sections.append(section(f"Effect of {key}", picture))
    return sections


def _failures(rows: Sequence[Row]) -> list[str]:
    sections: list[str] = []
    for row in rows:
        if not row.failed or row.state in WAITING:
            continue
        title = f"Job {row.job} ({row.state}): {row.error}"
        parts = [
            ("its traceback", row.folder / "error.txt"),
            ("the end of its log", row.folder / "train.log"),
        ]
        read = [(label, _read(file)) for label, file in parts]
        sections.append(folded(title, "\n\n".join(f"{label}:\n{text}" for label, text in read if text)))
    return sections


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


def _float(text: str) -> float | None:
    try:
        value = float(text)
        return value if abs(value) < 1e30 else None  # what is larger, or none, cannot be drawn
    except ValueError:
        return None
