"""The DAVIS layout: JPEGImages/<resolution>/<sequence>/<frame>.jpg, Annotations likewise, ImageSets lists.

The resolution's folder may be left out everywhere.
"""

import re
import shlex
from pathlib import Path, PurePosixPath

from davis_exp.data.frames import FRAME_SUFFIXES
from davis_exp.data.masks import MaskReader
from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.data.sources.files import FileSequence
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.names import hidden, natural

PREFERRED = "480p"
MASKS = "Annotations"
OF_MASK = re.compile(r"\s+(?=/?Annotations/)")  # where a line of a list goes on to the frame's mask
LONGEST = 255  # bytes of a file's name


def entry(line: str) -> tuple[str, ...] | None:
    """What a line of a list names, as the parts of a path; none of an empty one, None if no file can be called so.

    Names may have spaces in them: a line names a sequence, or a frame and, after that, its mask in Annotations.
    """
    parts = PurePosixPath(OF_MASK.split(line.strip())[0].lstrip("/")).parts
    possible = all(len(part.encode("utf-8", "replace")) <= LONGEST and part.isprintable() for part in parts)
    return parts if possible else None


def are_lost(missing: int, frames: int) -> bool:
    """Whether so many masks missing are an accident, in a sequence of so many frames: fewer than half of them."""
    return 0 < 2 * missing < frames


class DavisSource(Source):
    """A data set in DAVIS layout (DAVIS-2016; Perazzi et al., CVPR 2016).

    A split is `ImageSets/<resolution>/<split>.txt`, with one "/JPEGImages/… /Annotations/…" line a frame, or
    `ImageSets/<year>/<split>.txt`, with one sequence a line. Sequences come in the list's order, frames in natural
    order. A sequence without an annotations folder is unlabelled. It may have masks of half of its frames or fewer;
    where it has more, or where the list names them, the others are lost. A list may come from anywhere: none of its
    lines is followed out of `root`.

    Args:
        root: the folder that holds JPEGImages, Annotations and ImageSets.
        resolution: the folder below JPEGImages; None finds it per split, 480p before others, and none after them.
        train, test: the split's name for each stage.
        masks, void: how masks are read; see `MaskReader`.

    Raises:
        ValueError: as `MaskReader`.
    """

    def __init__(
        self,
        root: str | Path,
        resolution: str | None = None,
        train: str = "train",
        test: str = "val",
        masks: str = "auto",
        void: int | None = 255,
    ) -> None:
        self.reader = MaskReader(masks, void)
        self.root = Path(root).expanduser()
        self.resolution = None if resolution is None else str(resolution)
        self.splits = {"train": train, "test": test}

    def sequences(self, stage: str) -> list[VideoSequence]:
        """The sequences of `stage`. Raises BadInput naming what is missing where."""
        if stage not in self.splits:
            raise BadInput(f"a data set has the stages train and test, not {stage!r}")
        listed = self._read_list(self.splits[stage])
        resolution = self._find_resolution(list(listed), self.splits[stage])
        found: list[VideoSequence] = []
        first = 0
        for name, frames in listed.items():
            sequence = self._sequence(name, frames.get(resolution), resolution, first)
            found.append(sequence)
            first += len(sequence)
        return found

    def _read_list(self, split: str) -> dict[str, dict[str, dict[str, bool]]]:
        """What a split lists: {sequence: {resolution: {frame's file name: whether a mask is named beside it}}}.

        A list of sequences has no frames.
        """
        places = [*self.root.glob(f"ImageSets/*/{split}.txt"), *self.root.glob(f"ImageSets/{split}.txt")]
        lists = sorted(places, key=lambda path: self._rank(path.parent.name))
        if not lists:
            others = sorted({path.stem for path in self.root.glob("ImageSets/**/*.txt")})
            there = f"; there are {', '.join(others)}" if others else ""
            raise BadInput(
                f"no split {split!r} in DAVIS layout at {self.root}: looked for ImageSets/*/{split}.txt"
                f"{there}; set data.root, or get data with "
                f"`davis-exp data download davis2016 {shlex.quote(str(self.root))}`"
            )
        listed: dict[str, dict[str, dict[str, bool]]] = {}
        for number, line in enumerate(given.read_lines(lists[0]), start=1):
            parts = entry(line)
            if parts == ():
                continue
            if parts is None:
                raise BadInput(f"{lists[0]} line {number}: {quoted(line.strip())} cannot be a file's name")
            if ".." in parts:
                raise BadInput(
                    f"{lists[0]} line {number}: {quoted(line.strip())} leaves the folder: name what lies in it, "
                    "without '..'"
                )
            if len(parts) == 1:
                listed.setdefault(parts[0], {})
            elif len(parts) in (3, 4) and parts[0] == "JPEGImages":
                resolution = "" if len(parts) == 3 else parts[1]
                frames = listed.setdefault(parts[-2], {}).setdefault(resolution, {})
                frames[parts[-1]] = OF_MASK.search(line) is not None
            else:
                raise BadInput(
                    f"{lists[0]} line {number}: {quoted(line.strip())} is neither a sequence's name nor "
                    "/JPEGImages/<resolution>/<sequence>/<frame>.jpg"
                )
        if not listed:
            raise BadInput(f"{lists[0]} lists nothing: put one sequence on each line")
        return listed

    def _rank(self, resolution: str) -> tuple[bool, str]:
        """Sort key that puts the wanted resolution first."""
        return resolution != (self.resolution or PREFERRED), resolution

    def _find_resolution(self, names: list[str], split: str) -> str:
        images = self.root / "JPEGImages"
        folders = sorted((p.name for p in images.glob("*") if p.is_dir()), key=self._rank)
        if self.resolution is not None and self.resolution not in folders:
            raise BadInput(
                f"no resolution {self.resolution} below {images} (there: {', '.join(folders) or 'nothing'}): "
                "set data.resolution to one of these or to null"
            )
        for folder in [*folders, ""] if self.resolution is None else [self.resolution]:
            if all((images / folder / name).is_dir() for name in names):
                return folder
        tried = folders[0] if folders else self.resolution or PREFERRED
        missing = next(name for name in names if not (images / tried / name).is_dir())
        raise BadInput(
            f"split {split!r} lists {missing}, but there is no folder {images / tried / missing}: "
            "restore it, or take the sequence off the list"
        )

    def _sequence(
        self, name: str, listed: dict[str, bool] | None, resolution: str, first: int
    ) -> VideoSequence:
        folder = self.root / "JPEGImages" / resolution / name
        there = {path.name for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES}
        meant = listed or (name for name in there if not hidden(name))
        frames = sorted((folder / file for file in meant), key=natural)
        missing = [path for path in frames if path.name not in there]
        if missing or not frames:
            what = f"frame {missing[0]} is missing" if missing else f"no frames in {folder}"
            raise BadInput(f"{what}: restore it, or take it off the list in {self.root / 'ImageSets'}")
        masks = self._masks(frames, self.root / MASKS / resolution / name, listed or {})
        # One scene at two resolutions is one clip: the key leaves the resolution out.
        return FileSequence(name, f"{self.root.resolve()}/{name}", frames, masks, first, self.reader)

    def _masks(self, frames: list[Path], folder: Path, named: dict[str, bool]) -> list[Path | None]:
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        masks = {frame: folder / f"{frame.stem}.png" for frame in frames}
        missing = [frame for frame, mask in masks.items() if mask.name not in there]
        lost = [frame for frame in missing if are_lost(len(missing), len(masks)) or named.get(frame.name)]
        if lost and there:
            raise BadInput(
                f"mask {masks[lost[0]]} is missing ({len(missing)} of {len(masks)}): restore it, or remove {folder} to use "
                "the sequence unlabelled; with data=folders any frame may be without"
            )
        return [mask if mask.name in there else None for mask in masks.values()]
