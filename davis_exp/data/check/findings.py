"""What checking a data set yields, and how it is put into words."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from davis_exp.data.masks import MaskReader
from davis_exp.utils.errors import quoted
from davis_exp.utils.names import NUMBERS

SHOWN = 3  # names in one line


class Finding(NamedTuple):
    """Something found in a data set.

    Attributes:
        what: the file, and what it is like.
        remedy: what to do about it.
        note: worth knowing, but no defect.
        mask: the file, where it is a mask that `rewrite` can put right.
    """

    what: str
    remedy: str
    note: bool = False
    mask: Path | None = None

    def __str__(self) -> str:
        return f"{'note: ' * self.note}{self.what}: {self.remedy}"


class Clip(NamedTuple):
    """The files of one sequence: pairs of a frame and its mask, either of which may be missing.

    `reader` is how its masks are read, where the layout says so; their form is then as it is published.
    """

    name: str
    pairs: list[tuple[Path | None, Path | None]]
    reader: MaskReader | None = None


@dataclass
class Survey:
    """What a data set's names and lists say: nothing was decoded yet.

    Attributes:
        root: the data set's folder.
        clips: what there is to look at.
        findings: what is wrong with names, lists and numbers.
    """

    root: Path
    clips: list[Clip] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, what: str, remedy: str) -> None:
        """Add a defect."""
        self.findings.append(Finding(what, remedy))

    def sparse(self, where: str, without: Sequence[str], frames: int) -> None:
        """Add a note that a sequence has masks of some of its frames only."""
        what = f"{where} has no mask of {some(without)}, and so of {len(without)} of {frames} frames"
        self.findings.append(
            Finding(what, "the others are trained on and scored; restore what is lost", note=True)
        )

    def named(self, path: Path) -> str:
        """A file of the data set, as its messages name it."""
        return quoted(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    def number(self, where: str, frames: Iterable[Path]) -> None:
        """Add what is wrong with the numbers of a sequence's frames, which are to follow each other evenly."""
        files = list(frames)
        for path in files:
            if not NUMBERS.search(path.stem):
                self.add(f"{self.named(path)} has no number", "name frames 00000.jpg, 00001.jpg, …")
        counting: dict[int, Path] = {}
        for number, path in _counted([path for path in files if NUMBERS.search(path.stem)]):
            if number in counting:
                self.add(
                    f"{self.named(path)} and {quoted(counting[number].name)} are a duplicate: both are frame {number}",
                    "keep one of them",
                )
            counting.setdefault(number, path)
        missing = _gaps(
            sorted(counting), width=max((len(path.stem) for path in counting.values()), default=0)
        )
        if missing:
            self.add(f"{where}: frames are missing from the numbering: {some(missing)}", "restore them")


def _counted(files: list[Path]) -> list[tuple[int, Path]]:
    """The number that counts the frames of each file: the one in their names that is not the same in all of them.

    None of any where there are several such numbers, or names of several kinds: then nothing is known of the count.
    """
    names = [NUMBERS.split(path.stem) for path in files]  # text and numbers in turns
    texts = {tuple(name[::2]) for name in names}
    numbers = [[int(number) for number in name[1::2]] for name in names]
    if len(texts) > 1:
        return []
    changing = [i for i, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if len(changing) > 1:
        return []
    place = changing[0] if changing else -1
    return [(own[place], path) for own, path in zip(numbers, files, strict=True)]


def some(names: Iterable[str]) -> str:
    """The first few of the names, and how many more there are."""
    listed = [quoted(name) for name in names]
    more = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _gaps(numbers: list[int], width: int) -> list[str]:
    """Where numbers are missing that otherwise follow each other in even steps, as "00003" or "00003-00007"."""
    step = math.gcd(*(after - before for before, after in pairwise(numbers)))
    return [
        f"{before + step:0{width}d}" + (f"-{after - step:0{width}d}" if after - before > 2 * step else "")
        for before, after in pairwise(numbers)
        if after - before > step
    ]
