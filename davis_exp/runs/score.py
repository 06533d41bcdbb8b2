"""score.json: what results scored, frame by frame; every mean in it is held against its own frames."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, quoted

if TYPE_CHECKING:
    from davis_exp.metrics.measures import Raw

SCORE = "score.json"
LARGEST = given.TEXT  # half a million frames
EXACT = 1e-6  # how far a mean may be from that of its frames: they are rounded nowhere
ABOUT = {  # what results say of themselves, and what it must be
    **dict.fromkeys(("nparams", "nflops"), lambda value: given.number(value, 0)),
    **dict.fromkeys(
        ("dataset", "model", "entity", "created", "matched_by"),
        lambda value: isinstance(value, str) and len(value) <= 1000,
    ),
}


def read(path: Path) -> dict[str, Any]:
    """The content of a score.json file, or of the one in a folder.

    Raises BadInput if it is none, or claims another mean than its frames have.
    """
    from davis_exp.metrics.measures import JUDGED, MEASURES, OVERALL, PROTOCOLS, SELECTED
    from davis_exp.metrics.protocols import summary  # late: showing a config needs no arithmetic

    file = path / SCORE if path.is_dir() else path
    if not file.exists():
        raise BadInput(
            f"no {SCORE} at {given.shown(path)}: make one with davis-exp score RESULTS TRUTH --json {SCORE}"
        )
    content = given.read_json(file, LARGEST)
    name = given.shown(file)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(part), dict) for part in (*PROTOCOLS, "sequences")
    ):
        raise BadInput(f"{name} is no score: make one with davis-exp score RESULTS TRUTH --json {SCORE}")
    if unprintable := next((name for name in content["sequences"] if not name.isprintable()), None):
        raise BadInput(
            f"{name}: a sequence is called {quoted(unprintable)}: give it a name that can be printed"
        )
    own_raw = [own.get("raw") if isinstance(own, dict) else None for own in content["sequences"].values()]
    known = {key for raw in own_raw if isinstance(raw, dict) for key in raw}
    known |= {JUDGED.key, SELECTED.key, *(MEASURES[part].key for part in OVERALL.parts)}
    frames = {
        sequence: _frames(own, known, f"{name}: {quoted(sequence)}")
        for sequence, own in content["sequences"].items()
    }
    _hold(content, summary(frames), name)
    for key, fits in ABOUT.items():
        if content.get(key) is not None and not fits(content[key]):
            raise BadInput(f"{name}: {key} cannot be {quoted(content[key])}")
    trivial = content.get("baselines", {})
    if not isinstance(trivial, dict) or not all(
        value is None or given.number(value, 0, 1) for value in trivial.values()
    ):
        raise BadInput(f"{name}: baselines are not scores from 0 to 1")
    return content


def write(folder: Path, content: Mapping[str, Any]) -> Path:
    """Keep a score in a run's folder; returns the file."""
    written.write_json(folder / SCORE, content)
    return folder / SCORE


def _frames(own: Any, known: set[str], name: str) -> "tuple[list[str], Raw]":
    """The ids of a sequence's frames and their values in every measure that is `known`. Raises BadInput.

    What one sequence has all must have, or leaving out the worst would better a mean.
    """
    from davis_exp.metrics.measures import MEASURES

    raw = own.get("raw") if isinstance(own, dict) else None
    ids = own.get("frames") if isinstance(own, dict) else None
    printable = isinstance(ids, list) and all(isinstance(i, str) and i.isprintable() for i in ids)
    if not isinstance(raw, dict) or not isinstance(ids, list) or not printable:
        raise BadInput(f"{name} has no scores of its frames; score the results again")
    columns = {}
    for measure in MEASURES.values():
        key = measure.key
        if measure.function is None or key not in known:
            continue
        values = raw.get(key)
        if not isinstance(values, list) or len(values) != len(ids):
            raise BadInput(f"{name}: {key} is not a number for each of its {len(ids)} frames")
        told = [value for value in values if value is not None] if measure.gaps else values
        for value in () if _plain(told, *measure.bounds) else told:
            if not given.number(value, *measure.bounds):
                raise BadInput(f"{name}: {quoted(value)} is no {key} of a frame")
        columns[key] = values
    return ids, columns


def _plain(values: list[Any], lowest: float, highest: float) -> bool:
    """Whether these are fractions within bounds, as nearly all lists are: told at once, not one by one."""
    return (
        all(type(value) is float for value in values)
        and math.isfinite(sum(values))
        and min(values, default=lowest) >= lowest
        and max(values, default=lowest) <= highest
    )


def _hold(claimed: Any, found: Any, name: str, key: str = "") -> None:
    """Hold what a file claims against what its own frames give. Raises BadInput naming the first difference."""
    if isinstance(found, dict):
        claimed = {} if claimed is None else claimed  # written before there was such a measure
        if not isinstance(claimed, dict):
            raise BadInput(f"{name}: {quoted(key) or 'it'} is no part of a score")
        for part, value in found.items():
            if part not in ("frames", "raw") or not isinstance(value, list | dict):
                _hold(claimed.get(part), value, name, f"{key}.{part}" if key else part)
        return
    same = claimed is None if found is None else given.number(claimed, found - EXACT, found + EXACT)
    if not same:
        raise BadInput(
            f"{name}: {quoted(key)} says {quoted(claimed)}, but its own frames come to {found}; score the results again"
        )
