"""status.json: how a run is going, or how it went."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, quoted

STATUS = "status.json"
PRUNED = 4  # what a job of a search ends with that its search has given up
STATES = {
    0: "finished",
    1: "failed",
    2: "bad_input",
    3: "over_budget",
    PRUNED: "pruned",
    130: "interrupted",
}  # by exit code
UNREADABLE = "unreadable"  # of a run whose status.json is none

LONGEST = 10_000  # characters of a text, overrides of a job
Record = dict[str, Any]


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= LONGEST and all(map(_text, value))


def _size(value: Any) -> bool:
    return given.number(value, 0, 1e21)


FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "state": (lambda value: value in (*STATES.values(), "queued", "running"), "a state"),
    **dict.fromkeys(("pid", "attempts", "job", "nparams", "limit", "seed"), (_count, "a whole number")),
    **dict.fromkeys(("seconds", "nflops", "activation_mb", "ms"), (_size, "a number of at least 0")),
    "objective": (lambda value: given.number(value, -1e9, 1e9), "a number"),
    "exit_code": (lambda value: type(value) is int and abs(value) < 1000, "an exit code"),
    **dict.fromkeys(("overrides", "local"), (_texts, "a list of texts")),
    **dict.fromkeys(
        ("started", "revision", "command", "digest", "identity", "data", "test_split", "error", "trial"),
        (_text, "a text"),
    ),
}


def read(folder: Path) -> Record:
    """What status.json in `folder` says; empty where there is none.

    Raises BadInput for one that cannot be read, or says what cannot be.
    """
    path = folder / STATUS
    if not path.exists():
        return {}
    content = given.read_json(path)
    if not isinstance(content, dict):
        raise BadInput(f"{given.shown(path)} is no status of a run")
    for name, value in content.items():
        fits, wanted = FIELDS.get(name, (lambda _: True, ""))
        if value is not None and not fits(value):
            raise BadInput(f"{given.shown(path)}: {name} is {quoted(value)}, not {wanted}")
    return content


def known(folder: Path) -> Record:
    """As `read`, for a run of our own: what cannot be read counts as not there."""
    try:
        return read(folder)
    except BadInput:
        return {}


def update(folder: Path, **fields: Any) -> None:
    """Set `fields` in status.json; readers see the old file or the new one, never half of one.

    JSON has no NaN: a number that is none is kept as null.
    """
    nothing = [
        name for name, value in fields.items() if isinstance(value, float) and not math.isfinite(value)
    ]
    content = known(folder) | fields | dict.fromkeys(nothing)
    try:
        written.write_json(folder / STATUS, content)
    except OSError:
        # On a full disk the old file still has room for a few words more: how the run ended is worth the risk.
        if not (folder / STATUS).is_file():
            raise
        with open(folder / STATUS, "r+b") as file:
            file.write(json.dumps(content, indent=2, allow_nan=False).encode())
            file.truncate()
