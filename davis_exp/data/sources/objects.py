"""Masks of several objects: one of them, or all together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from davis_exp.data import cache
from davis_exp.data.masks import Mask, MaskReader, read_ids
from davis_exp.data.sources.files import FileSequence
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import ordered
from davis_exp.utils.progress import progress_bar

BACKGROUNDS = ("zero", "border")  # what is no object: the value 0, or what most of the border shows


@dataclass(frozen=True)
class ObjectReader(MaskReader):
    """Reads one object of a file that numbers several, or all that is not background where that is not 0.

    Args:
        background: of BACKGROUNDS.
        number: the object's, as `read_ids` gives it; None for all that is not background.
        The others as of MaskReader; with neither of these two it is one.
    """

    background: str = "zero"
    number: int | None = None

    def read(self, path: Path) -> Mask:
        if self.number is None and self.background == "zero":
            return super().read(path)
        ids = read_ids(path)
        if self.number is None:
            return Mask(ids != self.nothing(ids), None, "ids")
        void = ids == self.void if self.void not in (None, self.number) else None
        return Mask(ids == self.number, void if void is not None and void.any() else None, "ids")

    def nothing(self, ids: np.ndarray) -> int:
        """What stands for the background in numbers (H, W)."""
        if self.background == "zero":
            return 0
        border = np.concatenate([ids[0], ids[-1], ids[:, 0], ids[:, -1]])
        values, counts = np.unique(border, return_counts=True)
        return int(values[counts.argmax()])

    def of_object(self, number: int) -> "ObjectReader":
        """The same for one object."""
        return replace(self, number=number)

    def objects(self, files: Sequence[Path]) -> list[int]:
        """The numbers of all objects in masks, lowest first; void is one only where it stands alone (masks of 0 and 255).

        Every file is decoded, once: what was found is kept for later. Raises BadInput for one that cannot be read.
        """

        def numbers(path: Path) -> set[int]:
            ids = read_ids(path)
            return set(np.unique(ids).tolist()) - {self.nothing(ids)}

        kept = cache.FileCache(cache.default_folder("decoded"))
        about = [(str(path.resolve()), s.st_size, s.st_mtime_ns) for path in files for s in [path.stat()]]
        key = cache.key("objects", self.background, self.void, about)
        if (before := kept.read(key)) is not None:
            return [int(number) for number in json.loads(before)]
        with progress_bar("objects") as progress:
            found = set[int]().union(*ordered(numbers, files, len(files), 2, progress))
        found = found - {self.void} or found
        kept.write(key, json.dumps(sorted(found)).encode())
        return sorted(found)


class LayeredSequence(FileSequence):
    """Frames whose masks are put together of several files.

    Args:
        layers: of each frame the files of its mask, none where it has none.
        The others as of FileSequence.
    """

    def __init__(
        self,
        name: str,
        key: str,
        frames: Sequence[Path],
        layers: Sequence[tuple[Path, ...]],
        reader: MaskReader,
    ) -> None:
        super().__init__(name, key, frames, [next(iter(files), None) for files in layers], 0, reader)
        self.layers = tuple(layers)

    def mask_files(self, i: int) -> tuple[Path, ...]:
        return self.layers[i]

    def annotation(self, i: int) -> Mask:
        files = self.layers[i]
        if len(files) < 2:
            return super().annotation(i)
        masks = [self.mask_reader.read(path) for path in files]
        if len({mask.ids.shape for mask in masks}) > 1:
            raise BadInput(
                f"{files[0]} and the masks of other objects of its frame differ in size: give them one"
            )
        inside = reduce(np.maximum, (mask.inside for mask in masks))
        void = [mask.void for mask in masks if mask.void is not None]
        return Mask(inside, reduce(np.logical_or, void) if void else None, "ids")
