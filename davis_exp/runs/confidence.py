"""confidence.json: how far each mask is to be trusted, where there may be no truth to hold it against."""

from collections.abc import Mapping
from pathlib import Path

from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, quoted

CONFIDENCE = "confidence.json"


def write(folder: Path, values: Mapping[str, float]) -> Path:
    """Keep the confidence (0 … 1) of each frame by its id, in the frames' order; returns the file."""
    written.write_json(folder / CONFIDENCE, {frame: round(value, 4) for frame, value in values.items()})
    return folder / CONFIDENCE


def read(folder: Path) -> dict[str, float]:
    """What is kept in `folder`: the confidence of each frame by its id; empty where there is none.

    Raises BadInput for a file that is something else.
    """
    path = folder / CONFIDENCE
    if not path.exists():
        return {}
    content = given.read_json(path, given.TEXT)
    if not isinstance(content, dict):
        raise BadInput(f"{given.shown(path)} is no table of frames and their confidence")
    for frame, value in content.items():
        if not given.number(value, 0, 1):
            raise BadInput(
                f"{given.shown(path)}: {quoted(value)} is no confidence of {quoted(frame)}, from 0 to 1"
            )
    return content


def lowest(values: Mapping[str, float], count: int) -> list[tuple[str, float]]:
    """The `count` frames to look at first, the least certain first."""
    return sorted(values.items(), key=lambda pair: pair[1])[:count]


def said(values: Mapping[str, float], count: int) -> list[str]:
    """A line for each of the `count` frames to look at first."""
    return [f"{quoted(frame)}  confidence {value:.2f}" for frame, value in lowest(values, count)]
