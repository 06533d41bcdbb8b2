"""Reading results, which anyone may have made: nothing in them is trusted."""

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data import png
from davis_exp.data.masks import IDS, MaskReader
from davis_exp.data.pictures import decoded
from davis_exp.data.shades import alpha_of, grey_values
from davis_exp.results.storage import Storage, open_storage, relative
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.names import hidden, natural

PATHS, METADATA, OUTPUTS = "paths.json", "metadata.json", "outputs"
RESULTS = "results"  # in a run's folder
MAX_JSON = 2**22  # bytes: a hundred thousand frames
HEADER_BYTES = 33
MASKS, CUTOUT = "masks", "cutout"  # what predict calls the folders of a sequence's pictures

log = logging.getLogger(__name__)


class Results:
    """Results on disk: a results folder, a zip of one, or a plain folder `<sequence>/<00000>.png`, below whatever folders.

    Attributes:
        path: where they are.
        paths: relative file name of each index, in index order; a plain folder is numbered by name.
        frames: id of each index ("blackswan/00000"), in index order; None if the results do not say.
        metadata: what metadata.json holds; empty for a plain folder.
        plain: whether this is a plain folder, whose frames are known by name only.
        soft: whether a plain folder's greys are confidences, whatever they look like.
        defects: what is wrong with paths.json and metadata.json, one sentence each.
    """

    def __init__(self, path: Path, storage: Storage) -> None:
        self.path, self.storage = path, storage
        self.defects: list[str] = []
        self.paths: dict[int, str] = {}
        self.frames: list[str] | None = None
        self.metadata: dict[str, Any] = {}
        self.soft = False
        names = {name for name in storage.names() if not hidden(name)}
        self.files = frozenset(names)
        jpegs = sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg")))
        self.plain = PATHS not in names and METADATA not in names and any(map(_is_frame, names))
        if self.plain:
            self._read_names(names)
        elif jpegs and PATHS not in names:
            what = (
                f"the masks are JPEGs ({quoted(jpegs[0])}, {len(jpegs)} in all), which changes their values"
            )
            self.defects.append(f"{what}: save them as PNG")
        else:
            self._read_paths()
            self._read_metadata()

    @classmethod
    def open(cls, path: Path | str, *, strict: bool = True) -> "Results":
        """Open results; a run's folder stands for the results in it.

        Raises BadInput naming the first defect; unless `strict`, they stay in `defects`.
        """
        path = Path(path).expanduser()
        if not (path / PATHS).exists() and (path / RESULTS / PATHS).is_file():
            path = path / RESULTS
        try:
            results = cls(path, open_storage(path))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error
        if strict and results.defects:
            more = f" (and {len(results.defects) - 1} more)" if len(results.defects) > 1 else ""
            raise BadInput(f"{path}: {results.defects[0]}{more}")
        return results

    def header(self, index: int) -> png.Header:
        """Header of a frame's file. Raises BadInput naming the file, in a submission also if it is not 8-bit grey."""
        name = quoted(self.paths[index])
        head = png.header(self._bytes(index, HEADER_BYTES, head=True), name)
        if not self.plain:
            png.check_mode(head, name)
        return head

    def confidence(self, index: int) -> np.ndarray:
        """Confidence map of a frame: (H, W) uint8. Raises BadInput naming the file if it is not one.

        A submission holds 8-bit grey alone. In a plain folder masks may be of any kind that other programs write:
        palette, colours, 1 bit, 0/1, numbers of objects, 16 bits.
        """
        if not self.plain:
            return png.decode(self._bytes(index, png.MAX_BYTES), quoted(self.paths[index]))
        values = self._stored(index)
        full = 1 if values.dtype == bool else self._full[values.dtype == np.uint16]
        if full == 1:
            return np.where(values, np.uint8(255), np.uint8(0))
        return (values if full == 255 else values // 257).astype(np.uint8, copy=False)

    def marked(self, index: int, reader: MaskReader) -> np.ndarray:
        """As `confidence`, 0 or 255, where the user says what marks the object."""
        name = quoted(self.paths[index])
        with decoded(self._bytes(index, png.MAX_BYTES), Path(name), "mask") as image:
            return reader.of(image, name).inside * np.uint8(255)

    def _stored(self, index: int) -> np.ndarray:
        """What a frame's file of a plain folder holds, (H, W): bool where it has no greys, else 8 or 16 bits."""
        name, data = quoted(self.paths[index]), self._bytes(index, png.MAX_BYTES)
        head = png.header(data, name)
        if (head.colour, head.depth) == (png.GREY, 8):
            return png.decode(data, name)
        with decoded(data, Path(name), "mask") as image:
            values = None if image.mode in ("P", "PA") else grey_values(image)
            if values is not None and values.dtype.kind == "u" and alpha_of(image) is None:
                return values.astype(np.uint16 if values.itemsize > 1 else np.uint8, copy=False)
            return MaskReader(void=None).of(image, name).ids != 0

    @cached_property
    def _full(self) -> dict[bool, int]:
        """What stands for certain in a plain folder's greys, by whether they have 16 bits: 1 in numbers of objects.

        All files decide together, since a single one may have nothing that is bright.
        """
        if self.soft:
            return {False: 255, True: 65535}
        highest = {False: 0, True: 0}
        enough = {False: IDS - 1, True: 255}
        for index in self.paths:
            with suppress(BadInput):  # what is wrong with a file is said when it is asked for
                kind = self.header(index).depth == 16
                if highest[kind] <= enough[kind]:
                    values = self._stored(index)
                    if values.dtype != bool:
                        highest[kind] = max(highest[kind], int(values.max(initial=0)))
        most = max(highest.values())
        if 1 < most < IDS:
            log.warning("%s: no mask holds more than %d: taken for numbers of objects", self.path, most)
        return {kind: 1 if top < IDS else 255 if top <= 255 else 65535 for kind, top in highest.items()}

    def _bytes(self, index: int, limit: int, head: bool = False) -> bytes:
        name = self.paths[index]
        try:
            return self.storage.read(name, limit, head)
        except FileNotFoundError:
            raise BadInput(f"{quoted(name)} (index {index}) is missing") from None

    def _read_names(self, names: set[str]) -> None:
        """The frames of a plain folder: a file's own folder is its sequence, or the one above `masks`."""
        files: dict[str, str] = {}
        for name in sorted(filter(_is_frame, names), key=natural):
            *above, folder, file = name.split("/")
            sequence = (above or [self.path.resolve().stem])[-1] if folder == MASKS else folder
            frame = f"{sequence}/{file.removesuffix('.png')}"
            if frame in files:
                self.defects.append(
                    f"{quoted(name)} and {quoted(files[frame])} are a duplicate: both are frame {quoted(frame)}; give the "
                    "folder that holds one of them"
                )
            files.setdefault(frame, name)
        self.paths, self.frames = dict(enumerate(files.values())), list(files)

    def _read_paths(self) -> None:
        content = self._json(PATHS)
        if content is None:
            return
        column = content.get("output") if isinstance(content, dict) else None
        if not isinstance(column, dict):
            example = '{"output": {"0": "outputs/00000.png", …}}'
            self.defects.append(f"{PATHS} is of the wrong shape: write {example}")
            return
        if not column:
            self.defects.append(f"{PATHS} names no file")
        used: dict[str, int] = {}
        for key, value in column.items():
            if not re.fullmatch(r"0|[1-9][0-9]{0,8}", key):
                self.defects.append(f"{PATHS}: index {quoted(key)!r} is not an integer from 0 on")
                continue
            try:
                name = relative(value)
            except BadInput as error:
                self.defects.append(f"{PATHS}: index {key}: {error}")
                continue
            if name in used:
                self.defects.append(
                    f"{PATHS}: index {key}: duplicate: {quoted(name)} is index {used[name]}'s too"
                )
            used.setdefault(name, int(key))
            self.paths[int(key)] = name
        self.paths = dict(sorted(self.paths.items()))

    def _read_metadata(self) -> None:
        content = self._json(METADATA)
        if content is None:
            return
        if not isinstance(content, dict):
            self.defects.append(f"{METADATA} is of the wrong shape: write an object with nparams")
            return
        self.metadata = content
        frames = content.get("frames")
        if frames is None:
            return
        if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
            self.defects.append(f"{METADATA}: frames is not a list of names")
        elif len(frames) != len(self.paths):
            self.defects.append(
                f"{METADATA}: frames names {len(frames)} frames, {PATHS} has {len(self.paths)} indices"
            )
        else:
            self.frames = frames

    def _json(self, name: str) -> Any:
        repeated: list[str] = []

        def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
            seen = dict(pairs)
            if len(seen) != len(pairs):
                counts = Counter(key for key, _ in pairs)
                repeated.extend(key for key, times in counts.items() if times > 1)
            return seen

        try:
            content = json.loads(self.storage.read(name, MAX_JSON), object_pairs_hook=unique)
            given.bounded(content if name == METADATA else None, name)
        except FileNotFoundError:
            self.defects.append(f"{name} is missing")
        except BadInput as error:
            self.defects.append(str(error))
        except (ValueError, RecursionError) as error:
            self.defects.append(f"{name} is not JSON: {quoted(error)}")
        else:
            self.defects.extend(f"{name}: duplicate: {quoted(key)!r} is written twice" for key in repeated)
            return content
        return None


def _is_frame(name: str) -> bool:
    """Whether a file may be the mask of a frame in a plain folder: a PNG in some folder, and no cut-out."""
    *above, _ = name.split("/")
    return bool(above) and name.endswith(".png") and above[0] != OUTPUTS and above[-1] != CUTOUT
