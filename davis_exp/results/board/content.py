"""The board as plain data, small enough for a browser: what a page's script draws."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from davis_exp.results.board.entry import Clip, Entry, Value
from davis_exp.results.board.importance import importance
from davis_exp.results.pages.frames import spread
from davis_exp.utils import given

SETTINGS = 150  # keys of configs that may be columns, at most
POINTS = 200_000  # of all curves
CLIPS = 400  # rows of the matrix: those with the lowest mean
WORST = 4  # frames of a clip
ERROR = 300  # letters

# Columns that are no settings: id → (title, what the values are).
TOLD = {
    "state": ("state", "text"),
    "J": ("hold-out J", "percent"),
    "contest": ("contest", "percent"),
    "J&F": ("J&F", "percent"),
    "confidence": ("confidence", "percent"),
    "tested": ("tested on", "text"),
    "parameters": ("parameters", "count"),
    "GFLOPs": ("GFLOPs", "number"),
    "seconds": ("seconds", "number"),
    "started": ("started", "text"),
}
RESULTS = 5  # of these stand before the settings


def content(entries: Sequence[Entry], link: Callable[[Entry], str]) -> dict[str, Any]:
    """What the page is drawn from, as JSON values.

    `runs`, `groups`, `limits`, `reports` and `errors` have a value for each run, as have `columns` (a text is a place in
    its column's `levels`); `curves` are (step, value) flat, by run and metric; `clips` the matrix of J in thousandths.

    Args:
        link: where the page finds a run's report.
    """
    groups = list(dict.fromkeys(entry.group for entry in entries))
    varied = _varied(entries)
    return {
        "runs": [entry.name for entry in entries],
        "groups": {"levels": groups, "codes": [groups.index(entry.group) for entry in entries]},
        "limits": [entry.record.get("limit") for entry in entries],
        "reports": [link(entry) if entry.report else None for entry in entries],
        "errors": {str(i): said for i, entry in enumerate(entries) if (said := _error(entry))},
        "columns": _columns(entries, varied),
        "curves": _curves(entries),
        "clips": _clips(entries),
        "importance": {},
        "stills": {},
        "waiting": 0,
    }


def worth(entries: Sequence[Entry], group: str = "") -> dict[str, Any]:
    """`importance` of what was swept (given on the command line, and not the same in all) in a group, or in all."""
    finished = [e for e in entries if objective(e) is not None and group in ("", e.group)]
    keys = [key for key, swept in _varied(finished).items() if swept]
    settings = [{key: entry.settings.get(key) for key in keys} for entry in finished]
    return importance(settings, [objective(entry) or 0.0 for entry in finished])


def best_first(entries: Sequence[Entry]) -> list[Entry]:
    """As the page has them at first: by hold-out J, where no run has one by the contest's score, else by confidence."""
    for scores in (
        [objective(entry) for entry in entries],
        [entry.scores.get("contest") for entry in entries],
        [entry.confidence for entry in entries],
    ):
        if any(score is not None for score in scores):
            break
    order = sorted(range(len(entries)), key=lambda i: (scores[i] is None, -(scores[i] or 0.0), i))
    return [entries[i] for i in order]


def objective(entry: Entry) -> float | None:
    """What a run is chosen by: J on the held-out clips, of one that has finished."""
    value = entry.record.get("objective") if entry.record.get("state") == "finished" else None
    return float(value) if isinstance(value, int | float) else None


def _varied(entries: Sequence[Entry]) -> dict[str, bool]:
    """The settings that are not the same in all runs that have them, and whether they were given as overrides."""
    values: dict[str, set[Value]] = {}
    for entry in entries:
        for key, value in entry.settings.items():
            values.setdefault(key, set()).add(value)
    swept = {key for entry in entries for key in entry.swept}
    different = {key: key in swept for key, own in values.items() if len(own) > 1}
    return dict(sorted(different.items(), key=lambda pair: (not pair[1], pair[0]))[:SETTINGS])


def _columns(entries: Sequence[Entry], varied: Mapping[str, bool]) -> list[dict[str, Any]]:
    told = [_told(entry) for entry in entries]
    made = [
        _column(
            key, title, kind, values := [row[key] for row in told], shown=any(v is not None for v in values)
        )
        for key, (title, kind) in TOLD.items()
    ]
    after, made = made[RESULTS:], made[:RESULTS]
    for key, swept in varied.items():
        values = [entry.settings.get(key) for entry in entries]
        numbers = all(value is None or given.number(value) for value in values)
        name = key if key not in TOLD else f"config.{key}"
        made.append(_column(name, key, "number" if numbers else "text", values, shown=swept, setting=True))
    return made + after


def _column(
    key: str, title: str, kind: str, values: Sequence[Any], *, shown: bool, setting: bool = False
) -> dict[str, Any]:
    column: dict[str, Any] = {"key": key, "title": title, "kind": kind, "shown": shown, "setting": setting}
    if kind != "text":
        return column | {"values": [_rounded(value) for value in values]}
    texts = ["" if value is None else _word(value) for value in values]
    places = {text: i for i, text in enumerate(sorted(set(texts)))}
    return column | {"levels": list(places), "values": [places[text] for text in texts]}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _told(entry: Entry) -> dict[str, Any]:
    record, scores = entry.record, entry.scores
    flops = record.get("nflops") or scores.get("flops")
    return {
        "state": record.get("state") or ("scored" if scores else "unknown"),
        "J": objective(entry),
        "contest": scores.get("contest"),
        "J&F": scores.get("J&F"),
        "confidence": entry.confidence,
        "tested": " ".join(filter(None, (entry.data, record.get("test_split")))),
        "parameters": record.get("nparams") or scores.get("parameters"),
        "GFLOPs": flops / 1e9 if flops else None,
        "seconds": record.get("seconds"),
        "started": record.get("started"),
    }


def _error(entry: Entry) -> str:
    waiting = entry.record.get("state") in ("queued", "running")
    said = "; ".join(filter(None, ("" if waiting else entry.record.get("error"), entry.problem)))
    return said if len(said) <= ERROR else f"{said[:ERROR]}…"


def _curves(entries: Sequence[Entry]) -> dict[str, dict[str, list[float]]]:
    """Metric → run's number → step, value, step, value, …"""
    number = sum(len(entry.curves) for entry in entries) or 1
    most = max(4, POINTS // number)
    found: dict[str, dict[str, list[float]]] = {}
    for i, entry in enumerate(entries):
        for name, points in entry.curves.items():
            step = math.ceil(len(points) / most)
            kept = points[::-step][::-1]
            found.setdefault(name, {})[str(i)] = [_rounded(x) or 0 for point in kept for x in point]
    return dict(sorted(found.items(), key=lambda pair: (not pair[0].startswith("val/J"), pair[0])))


def _clips(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The clips, those that the runs find hardest first; each with J of every run, and of its hardest frames."""
    several = len({entry.data for entry in entries if entry.clips}) > 1
    own: dict[tuple[str, str], dict[int, Clip]] = {}
    for i, entry in enumerate(entries):
        for name, clip in entry.clips.items():
            own.setdefault((entry.data, name), {})[i] = clip
    means = {key: sum(clip.mean for clip in runs.values()) / len(runs) for key, runs in own.items()}
    made = []
    for data, name in sorted(own, key=lambda key: (means[key], key))[:CLIPS]:
        runs = own[data, name]
        frames = _hardest(list(runs.values()))
        made.append(
            {
                "name": f"{name} ({data})" if several and data else name,
                "runs": list(runs),
                "J": [round(1000 * clip.mean) for clip in runs.values()],
                "frames": frames,
                "frame_J": [_at(clip, frames) for clip in runs.values()],
                "worst": [clip.frames[clip.worst] for clip in runs.values()],
                "lowest": [round(1000 * float(clip.values[clip.worst])) for clip in runs.values()],
            }
        )
    return made


def _hardest(clips: Sequence[Clip]) -> list[str]:
    """The frames with the lowest mean J over all, neighbours left out."""
    same = [clip.values for clip in clips if clip.frames == clips[0].frames]
    return [clips[0].frames[i] for i in spread(np.mean(same, axis=0).tolist(), WORST)]


def _at(clip: Clip, frames: Sequence[str]) -> list[int | None]:
    places = _places(clip.frames)
    return [round(1000 * float(clip.values[places[f]])) if f in places else None for f in frames]


@functools.lru_cache(maxsize=CLIPS)
def _places(frames: tuple[str, ...]) -> dict[str, int]:
    return {frame: i for i, frame in enumerate(frames)}


def _rounded(value: Any) -> Any:
    """A number with six digits; None for what is none."""
    if not given.number(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.6g}")
