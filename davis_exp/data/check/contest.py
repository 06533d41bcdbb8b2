"""What is wrong with the table of a data set in the contest's layout."""

import json
import re
from collections import Counter
from pathlib import Path, PurePath
from typing import Any

from davis_exp.data.check.findings import Clip, Survey, some
from davis_exp.data.frames import FRAME_SUFFIXES
from davis_exp.data.sources.contest import TABLE, foreign_folders, parse
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.names import hidden, natural

MAX_TABLE = 2**26  # bytes: half a million frames
SHAPE = 'write {"raw": {"0": "<clip>/00000.jpg", …}, "annotation": {…}}'
Column = dict[int, Path]


def survey_contest(folder: Path, found: Survey) -> None:
    """Add the clips and findings of the `paths.json` in `folder`, which lies in `found.root`."""
    table = found.named(folder / TABLE)
    columns = _read(folder / TABLE, table, found)
    if columns is None:
        return
    located = {name: _locate(folder, cells) for name, cells in columns.items()}
    for name, files in located.items():
        _check_files(folder, f"{table}: {name}", files, found)
    frames, masks = located["raw"], located.get("annotation", {})
    clips: dict[str, list[int]] = {}
    for index, frame in sorted(frames.items()):
        clips.setdefault(frame.parent.name, []).append(index)
    for name, indices in clips.items():
        _add_clip(f"{table}: clip {quoted(name)}", indices, frames, masks, found)
    for index in sorted(masks.keys() - frames.keys()):
        found.add(f"{table}: index {index} has an annotation but no frame", "give both or neither")
    _add_unlisted(table, {*frames.values(), *masks.values()}, found)


def _read(path: Path, table: str, found: Survey) -> dict[str, dict[int, PurePath]] | None:
    """The table's columns; None if there is none to speak of."""
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated.extend(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return dict(pairs)

    try:
        content = given.bounded(
            json.loads(given.read_bytes(path, MAX_TABLE), object_pairs_hook=unique), table
        )
    except (ValueError, RecursionError, BadInput) as error:
        found.add(f"{table} is not JSON that can be read ({quoted(error)})", SHAPE)
        return None
    if not isinstance(content, dict) or not isinstance(content.get("raw"), dict) or not content["raw"]:
        found.add(f"{table} has no column raw of paths", SHAPE)
        return None
    if repeated:
        found.add(f"{table}: {some(repeated)} is written twice: a duplicate", "write each index once")
    return {
        name: _parsed(f"{table}: {name}", content[name], name == "raw", found)
        for name in ("raw", "annotation")
        if isinstance(content.get(name), dict)
    }


def _parsed(where: str, cells: dict[str, Any], required: bool, found: Survey) -> dict[int, PurePath]:
    paths: dict[int, PurePath] = {}
    for key, cell in cells.items():
        at = f"{where}: index {quoted(key)}"
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", key):
            found.add(f"{at} is not an integer from 0 on", "number the frames 0, 1, 2, …")
        elif cell is None:
            if required:
                found.add(f"{at} is null", "every index needs a frame")
        elif not isinstance(cell, str) or not cell:
            found.add(f"{at} is {quoted(cell) or 'empty'}, not a path", "write <clip>/00000.jpg")
        elif "/" in cell and "\\" in cell:
            found.add(f"{at}: {quoted(cell)} mixes / and \\", "use one kind of slash")
        elif ".." in parse(cell).parts:
            found.add(f"{at}: {quoted(cell)} leaves the folder", "name a file inside it, without '..'")
        elif len(parse(cell).parts) < 2:
            found.add(f"{at}: {quoted(cell)} has no clip folder", "write <clip>/00000.jpg")
        else:
            paths[int(key)] = parse(cell)
    return paths


def _locate(folder: Path, column: dict[int, PurePath]) -> Column:
    """The column's files, below `folder` by as many leading folders less as the first needs that is there."""
    dropped = (foreign_folders(folder, path) for path in column.values())
    drop = next((n for n in dropped if n is not None), 0)
    return {index: folder.joinpath(*path.parts[drop:]) for index, path in column.items()}


def _check_files(folder: Path, where: str, files: Column, found: Survey) -> None:
    """Report files that are outside, used twice or missing; those outside and missing are taken out."""
    first: dict[Path, int] = {}
    missing: dict[Path, list[str]] = {}
    for index, path in sorted(files.items()):
        if not path.is_relative_to(folder):
            found.add(
                f"{where}: index {index}: {quoted(path)} is outside the folder", "name a file inside it"
            )
            del files[index]
        elif path in first:
            found.add(
                f"{where}: index {index} is a duplicate: {found.named(path)} is index {first[path]}'s too",
                "give every index its own file",
            )
        elif not path.is_file():
            missing.setdefault(path.parent, []).append(path.name)
            del files[index]
        first.setdefault(path, index)
    for parent, names in missing.items():
        found.add(f"{where}: {found.named(parent)} lacks {some(names)}", "restore what is missing")


def _add_clip(where: str, indices: list[int], frames: Column, masks: Column, found: Survey) -> None:
    files = [frames[index] for index in indices]
    found.number(where, dict.fromkeys(files))
    order = [natural(file) for file in files]
    wrong = next((i for i in range(1, len(order)) if order[i] < order[i - 1]), None)
    if wrong is not None:
        found.add(
            f"{where}: index {indices[wrong]} is {quoted(files[wrong].name)}, "
            f"but the index before it is {quoted(files[wrong - 1].name)}",
            "number the frames in their order",
        )
    without = [str(index) for index in indices if index not in masks]
    if 0 < len(without) < len(indices):
        found.add(
            f"{where} lacks the annotation of index {some(without)}",
            "add it; without any annotation the clip is unlabelled",
        )
    for index in indices:
        frame, mask = frames[index], masks.get(index)
        if mask is not None and (mask.parent.name, mask.stem) != (frame.parent.name, frame.stem):
            found.add(
                f"{where}: index {index} pairs {quoted(frame.name)} with the mask "
                f"{quoted(f'{mask.parent.name}/{mask.name}')}",
                "give each frame its own mask",
            )
    found.clips.append(Clip(where, [(frames[index], masks.get(index)) for index in indices]))


def _add_unlisted(table: str, named: set[Path], found: Survey) -> None:
    """Report images in the clips' folders, and in those beside them, that the table does not name."""
    for parent in sorted({path.parent.parent for path in named}):
        for clip in sorted(path for path in parent.iterdir() if path.is_dir()):
            files = sorted(
                path
                for path in clip.iterdir()
                if path.suffix.lower() in FRAME_SUFFIXES and not hidden(path.name)
            )
            unlisted = [path.name for path in files if path not in named]
            if unlisted:
                what = f"{table} does not name {some(unlisted)} of {found.named(clip)}"
                found.add(what, "name them, or move them away")
