"""The contest's layout: a `paths.json` table of frames and, where labelled, their masks."""

import os
import re
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from davis_exp.data.artifact import fetch
from davis_exp.data.cache import default_folder
from davis_exp.data.masks import MaskReader
from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.data.sources.files import FileSequence
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted

TABLE = "paths.json"
PLAIN = re.compile(r"[^\x00-\x1f\x7f]{1,1024}")
INDEX = re.compile(r"[0-9]{1,9}")
DRIVE = re.compile(r"[A-Za-z]:")


class ContestSource(Source):
    """A data set in the contest's layout, one folder per stage.

    `paths.json` is a pandas `DataFrame.to_json` with columns `raw` and, where labelled, `annotation`, and an
    integer index, which is the frame's global index and gives the order. Paths end in <clip>/<frame>.jpg
    below any prefix, written with either kind of slash; a prefix that is not below `root` (another machine's)
    is left out. A table may come from anywhere: none of its paths is followed out of `root`.

    Args:
        root: the folder with the training data's `paths.json`.
        test_root: the folder with the test data's; None tests on the training data.
        artifact, test_artifact: take their places: a W&B artifact (entity/project/name:alias), downloaded when it is
            first read, or a folder of the same content.
        masks, void: how masks are read; see `MaskReader`.

    Raises:
        ValueError: as `MaskReader`.
    """

    def __init__(
        self,
        root: str | Path,
        test_root: str | Path | None = None,
        artifact: str | None = None,
        test_artifact: str | None = None,
        masks: str = "auto",
        void: int | None = 255,
    ) -> None:
        self.reader = MaskReader(masks, void)
        self.artifacts = {"train": artifact, "test": test_artifact or (None if test_root else artifact)}
        self._fetched: dict[str, Path] = {}
        self._roots = {"train": Path(root).expanduser(), "test": Path(test_root or root).expanduser()}

    def root(self, stage: str) -> Path:
        """The folder of `stage`. Raises BadInput where an artifact cannot be had."""
        artifact = self.artifacts[stage]
        if artifact is None:
            return self._roots[stage]
        if artifact not in self._fetched:
            self._fetched[artifact] = fetch(artifact, default_folder("artifacts"))
        return self._fetched[artifact]

    def sequences(self, stage: str) -> list[VideoSequence]:
        """The clips of `stage` in order of their first index. Raises BadInput naming what is wrong where."""
        if stage not in self.artifacts:
            raise BadInput(f"a data set has the stages train and test, not {stage!r}")
        root = self.root(stage)
        columns = _read_table(root / TABLE)
        frames, masks = (_locate(root, name, columns.get(name, {})) for name in ("raw", "annotation"))
        clips: dict[str, list[int]] = {}
        for index, path in sorted(frames.items()):
            clips.setdefault(path.parent.name, []).append(index)
        return [_clip(root, name, indices, frames, masks, self.reader) for name, indices in clips.items()]


def _clip(
    root: Path,
    name: str,
    indices: list[int],
    frames: dict[int, Path],
    masks: dict[int, Path],
    reader: MaskReader,
) -> FileSequence:
    files = [frames[i] for i in indices]
    if len({path.stem for path in files}) < len(files):
        raise BadInput(
            f"{root / TABLE}: clip {name} has two frames of one name; clips need names of their own"
        )
    missing = [i for i in indices if i not in masks]
    if 0 < len(missing) < len(indices):
        raise BadInput(
            f"{root / TABLE}: index {missing[0]} has no annotation but others of clip {name} have: add it, "
            "or leave out the clip's annotations"
        )
    key = str(files[0].parent.resolve())
    annotated = None if missing else [masks[i] for i in indices]
    return FileSequence(name, key, files, annotated, indices, reader)


def _read_table(path: Path) -> dict[str, dict[int, str]]:
    """The columns of a `paths.json`: {column: {index: path}}, empty cells left out."""
    if not path.exists():
        raise BadInput(
            f"no data set in the contest's layout at {path.parent}: looked for {TABLE}; set data.root"
        )
    table: Any = given.read_json(path, given.TEXT)
    try:
        columns = {
            name: {_index(index): cell for index, cell in column.items() if cell is not None}
            for name, column in table.items()
        }
        texts = all(isinstance(cell, str) for column in columns.values() for cell in column.values())
    except (AttributeError, ValueError):
        texts = False
    if not texts or not columns.get("raw"):
        raise BadInput(
            f'{path} must look like {{"raw": {{"0": "<clip>/00000.jpg", …}}, "annotation": {{…}}}}'
        )
    return columns


def _index(text: str) -> int:
    if not INDEX.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _locate(root: Path, name: str, column: dict[int, str]) -> dict[int, Path]:
    """The files that the column `name` lists, all below `root`: as many leading folders are dropped as its first needs."""

    def refusal(index: int, why: str) -> BadInput:
        return BadInput(f"{root / TABLE}: {name}: index {index}: {quoted(column[index])} {why}")

    paths = {index: parse(text) for index, text in column.items()}
    drop: int | None = None
    for index, path in paths.items():
        if "/" in column[index] and "\\" in column[index]:
            raise refusal(index, "mixes / and \\: use one kind of slash")
        if ".." in path.parts:
            raise refusal(index, "leaves the folder: name a file inside it, without '..'")
        if not PLAIN.fullmatch(column[index]):
            raise refusal(index, "is not a plain path: write <clip>/<frame>.jpg")
        if len(path.parts) - _rooted(path) < 2:
            raise refusal(index, "has no clip folder: write <clip>/<frame>.jpg")
        drop = foreign_folders(root, path) if drop is None else drop
        if drop is None:
            raise refusal(index, f"is not below {root}: restore the files")
        if not _rooted(path) <= drop <= len(path.parts) - 2:
            raise refusal(index, "is not in the folder that the first path is in: begin all paths alike")
    return {index: root.joinpath(*path.parts[drop:]) for index, path in paths.items()}


def foreign_folders(root: Path, path: PurePath) -> int | None:
    """How many leading parts of a path to leave out to find its file below `root`; None if none helps.

    What makes it absolute always goes: the file itself may be there, on the machine that the table is from.
    """
    counts = range(_rooted(path), len(path.parts) - 1)
    # unlike is_file, it finds a name too long for any file no error
    return next((n for n in counts if os.path.isfile(root.joinpath(*path.parts[n:]))), None)


def _rooted(path: PurePath) -> bool:
    """Whether its first part is a root, a share or a drive, of any machine's."""
    return bool(path.anchor or DRIVE.match(str(path)))


def parse(text: str) -> PurePath:
    """A path as a table holds it, written with either kind of slash."""
    return PureWindowsPath(text) if "\\" in text and "/" not in text else PurePosixPath(text)
