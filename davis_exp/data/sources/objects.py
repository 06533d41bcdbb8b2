"""Masks of several objects: one of them, or all together."""

import json
from collections.abc import Sequence as Listing
from pathlib import Path

import numpy as np

from davis_exp.data import cache
from davis_exp.data.sources.files import FileSequence, read_ids
from davis_exp.utils.parallel import ordered
from davis_exp.utils.progress import progress_bar

BACKGROUNDS = ("zero", "border")  # what is no object: the value 0, or what most of the border shows
VOID = 255  # among the numbers of objects: not decided, and none of them


class ObjectSequence(FileSequence):
    """Frames whose masks are put together of several files, or show one of the objects that a file numbers.

    Args:
        layers: of each frame the files of its mask, none where it has none.
        background: of BACKGROUNDS.
        number: the object's; None for all that is not background.
        The others as of FileSequence.
    """

    def __init__(
        self,
        name: str,
        key: str,
        frames: Listing[Path],
        layers: Listing[tuple[Path, ...]],
        *,
        background: str = "zero",
        number: int | None = None,
    ) -> None:
        super().__init__(name, key, frames, [next(iter(files), None) for files in layers])
        self.layers, self.background, self.number = tuple(layers), background, number
        self.read_as = ("objects", background, number)

    def mask_files(self, i: int) -> tuple[Path, ...]:
        return self.layers[i]

    def read(self, path: Path) -> np.ndarray:
        if self.number is None and self.background == "zero":
            return super().read(path)
        ids = read_ids(path)
        inside = ids != _background(ids, self.background) if self.number is None else ids == self.number
        return inside.view(np.uint8)


def object_ids(files: Listing[Path], background: str) -> list[int]:
    """The numbers of all objects in masks, lowest first; VOID is one only where it stands alone (masks of 0 and 255).

    Every file is decoded, once: what was found is kept for later. Raises BadInput for one that cannot be read.
    """

    def numbers(path: Path) -> set[int]:
        ids = read_ids(path)
        return set(np.unique(ids).tolist()) - {_background(ids, background)}

    kept = cache.FileCache(cache.default_folder("decoded"))
    about = [
        (str(path.resolve()), status.st_size, status.st_mtime_ns)
        for path in files
        for status in [path.stat()]
    ]
    key = cache.key("objects", background, about)
    if (before := kept.read(key)) is not None:
        return [int(number) for number in json.loads(before)]
    found: set[int] = set()
    with progress_bar("objects") as progress:
        found = set().union(*ordered(numbers, files, len(files), 2, progress))
    found = found - {VOID} or found
    kept.write(key, json.dumps(sorted(found)).encode())
    return sorted(found)


def _background(ids: np.ndarray, background: str) -> int:
    """What stands for the background in a picture of ids (H, W)."""
    if background == "zero":
        return 0
    border = np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]])
    values, counts = np.unique(border, return_counts=True)
    return int(values[counts.argmax()])
