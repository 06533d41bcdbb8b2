"""What the board knows of each run: read once, and again only where a file of the run has changed."""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.metrics.measures import JUDGED, OVERALL, SELECTED
from davis_exp.runs import confidence, found, metrics, score, status
from davis_exp.runs import config as composed
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput
from davis_exp.utils.names import natural

REPORT = "report.html"
FILES = (
    status.STATUS,
    *(composed.CONFIG, composed.OVERRIDES, composed.HYDRA),
    metrics.METRICS,
    score.SCORE,
    confidence.CONFIDENCE,
)
CURVES, POINTS = 12, 120  # of a run, at most; a curve with more points is thinned out
BATCH = 100  # runs that are read before what there is can be shown
LOGGED = 16 * given.MB  # of metrics.csv
LEAVES, LONGEST = 300, 120  # values of a config; letters of one
UNTOLD = (
    "_target_",
    "_convert_",
    "_partial_",
    "_recursive_",
)  # how a part is made, which its group's choice says

Value = str | float | bool | None
Stamp = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Clip:
    """J of a clip's frames, of which there is at least one; `frames` are their ids."""

    frames: tuple[str, ...]  # the same object for all runs that were tested on them
    values: np.ndarray  # (frames,) float32
    mean: float
    worst: int  # the place of the lowest


@dataclass(frozen=True)
class Entry:
    """One run. Whatever is not known of it is empty; `problem` says what could not be read."""

    name: str
    folder: Path
    record: Mapping[str, Any]  # of status.json
    settings: Mapping[str, Value] = field(default_factory=dict)  # dotted key, or group → value
    swept: Sequence[str] = ()  # keys that were given on the command line
    curves: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)  # name → (step, value)
    scores: Mapping[str, float | None] = field(default_factory=dict)  # contest, J&F, parameters, flops
    data: str = ""  # what it was tested on
    clips: Mapping[str, Clip] = field(default_factory=dict)
    confidence: float | None = None  # mean over its frames, 0 … 1
    report: bool = False
    problem: str = ""

    @property
    def group(self) -> str:
        """The sweep, or the experiment, that it is a run of."""
        return self.name.rpartition("/")[0]


class Runs:
    """The runs below some folders, kept between looks.

    Args:
        roots: the folders; a run's name is its path from there, with the folder's own name where there are several.
        current: what status.json of a folder says, and whether its process still lives.
    """

    def __init__(self, roots: Sequence[Path], current: Callable[[Path], Mapping[str, Any]]) -> None:
        self.roots, self.current = roots, current
        self.kept: dict[str, tuple[Stamp, Entry]] = {}
        self.waiting = 0  # runs that are there and were not read yet

    def look(self) -> Iterator[list[Entry]]:
        """All runs, by name: with no more than their status at first, then with what was read; the last list is whole."""
        folders = dict(self._folders())
        self.kept = {name: kept for name, kept in self.kept.items() if name in folders}
        stamps = {name: _stamp(folder) for name, folder in folders.items()}
        changed = [name for name, stamp in stamps.items() if self.kept.get(name, (None,))[0] != stamp]
        # A run whose process is killed changes no file.
        alive = [name for name, (_, entry) in self.kept.items() if entry.record.get("state") == "running"]
        for name in set(alive).difference(changed):
            stamp, entry = self.kept[name]
            if (record := self._current(folders[name])) != entry.record:
                self.kept[name] = stamp, replace(entry, record=record)
        # The latest first: whoever opens the page of a long list looks for these.
        changed.sort(key=lambda name: max((s[0] for s in stamps[name] if s), default=0), reverse=True)
        records = {name: self._current(folders[name]) for name in changed}
        for name in set(changed).difference(self.kept):  # how it went is told at once, whatever else there is
            self.kept[name] = (), Entry(name, folders[name], records[name])
        self.waiting = len(changed)
        if self.waiting > BATCH:
            yield self._entries()
        for position, name in enumerate(changed, 1):
            self.kept[name] = stamps[name], read(name, folders[name], records[name])
            self.waiting = len(changed) - position
            if self.waiting and position % BATCH == 0:
                yield self._entries()
        yield self._entries()

    def _current(self, folder: Path) -> Mapping[str, Any]:
        try:
            return self.current(folder)
        except OSError as error:
            return {"state": status.UNREADABLE, "error": str(error)}

    def _entries(self) -> list[Entry]:
        return [self.kept[name][1] for name in sorted(self.kept, key=natural)]

    def _folders(self) -> Iterator[tuple[str, Path]]:
        for root in self.roots:
            for folder in found.below(root):
                name = folder.relative_to(root).as_posix()
                if len(self.roots) > 1 or name == ".":
                    name = f"{root.resolve().name}/{name}".removesuffix("/.")
                yield given.shown(name), folder


def read(name: str, folder: Path, record: Mapping[str, Any]) -> Entry:
    """What is in a run's folder; what cannot be read is said in its `problem`."""
    told: dict[str, Any] = {}
    problems = []
    for part in (_settings, _curves, _score, _confidence):
        try:
            told |= part(folder)
        except (BadInput, OSError) as error:  # not ours to read, or just being taken away
            problems.append(str(error))
    return Entry(
        name,
        folder,
        record,
        **told,
        report=inside(folder / REPORT, folder) is not None,
        problem="; ".join(problems),
    )


def inside(path: Path, folder: Path) -> Path | None:
    """A regular file that lies in `folder` itself, no matter where links lead; None for anything else."""
    real = Path(os.path.realpath(path))
    return real if os.path.isfile(real) and real.parent == Path(os.path.realpath(folder)) else None


def _settings(folder: Path) -> dict[str, Any]:
    run = composed.read(folder)
    if run is None:
        return {}
    leaves: dict[str, Value] = {}
    for key, value in _leaves(run.config):
        if len(leaves) < LEAVES and not key.endswith(UNTOLD):
            leaves[key[:LONGEST]] = value
    choices: dict[str, Value] = {
        group: option for group, option in run.choices.items() if not group.startswith(("hydra/", "local/"))
    }
    swept = [override.partition("=")[0].lstrip("+~") for override in run.overrides]
    return {"settings": leaves | choices, "swept": swept}


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Value]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else name)
    elif isinstance(node, bool | None) or given.number(node, -metrics.LARGEST, metrics.LARGEST):
        yield key, node
    else:
        text = str(node)
        yield key, text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _curves(folder: Path) -> dict[str, Any]:
    curves = list(metrics.read(folder, LOGGED).items())
    curves.sort(key=lambda curve: not curve[0].startswith("val/"))
    return {"curves": {name: _thinned(points) for name, points in curves[:CURVES]}}


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Some of many points, the last among them."""
    step = max(1, math.ceil(len(points) / POINTS))
    return points[::-step][::-1]


def _score(folder: Path) -> dict[str, Any]:
    if not (folder / score.SCORE).exists():
        return {}
    content = score.read(folder)
    scores = {
        "contest": JUDGED.figure(content),
        OVERALL.name: OVERALL.figure(content),
        "parameters": content.get("nparams"),
        "flops": content.get("nflops"),
    }
    clips = {
        name: _clip(own["frames"], own["raw"][SELECTED.key])
        for name, own in content["sequences"].items()
        if own["frames"]
    }
    return {"scores": scores, "data": str(content.get("dataset") or ""), "clips": clips}


def _confidence(folder: Path) -> dict[str, Any]:
    values = confidence.read(folder).values()
    return {"confidence": sum(values) / len(values)} if values else {}


def _clip(frames: list[str], values: list[float]) -> Clip:
    j = np.asarray(values, np.float32)
    return Clip(_shared(tuple(frames)), j, float(j.mean()), int(j.argmin()))


@functools.lru_cache(maxsize=4096)
def _shared(frames: tuple[str, ...]) -> tuple[str, ...]:
    return frames


def _stamp(folder: Path) -> Stamp:
    stamps: list[tuple[int, int] | None] = []
    for file in (*FILES, REPORT):
        try:
            of = os.stat(folder / file)
            stamps.append((of.st_mtime_ns, of.st_size))
        except OSError:
            stamps.append(None)
    return tuple(stamps)
