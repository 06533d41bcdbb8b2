"""Write sequences of any source as a data set on disk. No torch here."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from davis_exp.data.pictures import MAX_BYTES
from davis_exp.data.sequences import VideoSequence
from davis_exp.data.sources.contest import TABLE
from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput

Progress = Callable[[list[VideoSequence]], Iterable[VideoSequence]]


def write_davis(
    splits: Mapping[str, Sequence[VideoSequence]],
    folder: str | Path,
    *,
    resolution: str = "480p",
    progress: Progress = iter,
) -> Path:
    """Write a data set in DAVIS layout.

    Frames that are files are copied, others become JPEGs of high quality; masks become grey PNGs of 0 and
    255, in which void pixels are background.

    Args:
        splits: the sequences of each split ("train", "val"). One clip may be in several; it is written once.
        folder: where to; must be empty or not exist. It appears when it is whole.
        resolution: name of the folder below JPEGImages and Annotations.
        progress: wraps the list of sequences to write, to show how far it is.

    Returns:
        The folder.

    Raises:
        BadInput: the folder is in use, two clips have one name, or a frame or mask cannot be read.
    """
    clips: dict[str, VideoSequence] = {}
    for sequence in (s for sequences in splits.values() for s in sequences):
        if clips.setdefault(sequence.name, sequence).key != sequence.key:
            raise BadInput(
                f"two clips are called {sequence.name}: export their splits to folders of their own"
            )
    with new_folder(Path(folder)) as new:
        files: dict[str, list[tuple[Path, Path | None]]] = {}
        for sequence in progress(list(clips.values())):
            files[sequence.name] = _write(
                sequence,
                new / "JPEGImages" / resolution / sequence.name,
                new / "Annotations" / resolution / sequence.name,
            )
        lists = new / "ImageSets" / resolution
        lists.mkdir(parents=True)
        for split, sequences in splits.items():
            rows = [
                " ".join(f"/{path.relative_to(new).as_posix()}" for path in pair if path is not None)
                for sequence in sequences
                for pair in files[sequence.name]
            ]
            (lists / f"{split}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return Path(folder)


def write_contest(
    sequences: Sequence[VideoSequence],
    folder: str | Path,
    *,
    resolution: str = "480p",
    progress: Progress = iter,
) -> Path:
    """Write one stage as a data set in the contest's layout: a `paths.json` of paths relative to the folder.

    Every frame keeps its global index. Arguments, result and errors as for `write_davis`; two sequences must
    not share a name or an index.
    """
    if sparse := [s.name for s in sequences if 0 < len(s.annotated) < len(s)]:
        raise BadInput(
            f"{sparse[0]} has frames without a mask, which the contest's layout cannot have: write davis"
        )
    names = [s.name for s in sequences]
    indices = [i for s in sequences for i in s.index]
    if len({*names}) < len(names) or len({*indices}) < len(indices):
        raise BadInput("two clips share a name or frames share an index: export each stage on its own")
    with new_folder(Path(folder)) as new:
        table: dict[str, dict[str, str]] = {"raw": {}}
        for sequence in progress(list(sequences)):
            written = _write(
                sequence,
                new / "JPEGImages" / resolution / sequence.name,
                new / "Annotations" / resolution / sequence.name,
            )
            for index, (frame, mask) in zip(sequence.index, written, strict=True):
                table["raw"][str(index)] = frame.relative_to(new).as_posix()
                if mask is not None:
                    table.setdefault("annotation", {})[str(index)] = mask.relative_to(new).as_posix()
        (new / TABLE).write_text(json.dumps(table), encoding="utf-8")
    return Path(folder)


def _write(sequence: VideoSequence, frames: Path, masks: Path) -> list[tuple[Path, Path | None]]:
    """Write a sequence's frames and masks into two folders; returns the pair of files of each frame."""
    frames.mkdir(parents=True)
    if sequence.labelled:
        masks.mkdir(parents=True)
    written: list[tuple[Path, Path | None]] = []
    for i, frame_id in enumerate(sequence.frame_ids):
        stem = frame_id.rpartition("/")[2]
        source = sequence.frame_file(i)
        frame = frames / f"{stem}{source.suffix.lower() if source else '.jpg'}"
        if source:
            with given.open_file(source, MAX_BYTES) as original, open(frame, "wb") as copy:
                shutil.copyfileobj(original, copy)
        else:
            Image.fromarray(sequence.frame(i)).save(frame, quality=95, subsampling=0)
        mask = None
        if i in sequence.annotated:
            mask = masks / f"{stem}.png"
            Image.fromarray(sequence.mask(i) * np.uint8(255)).save(mask)
        written.append((frame, mask))
    return written


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, renamed to `folder` when all went well and removed otherwise."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is not empty: give a new folder, or remove this one first")
    with written.atomic_folder(folder) as new:
        yield new
