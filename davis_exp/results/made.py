"""Results from masks that any program has written."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data.masks import FEW, MaskReader
from davis_exp.data.sequences import VideoSequence
from davis_exp.data.shades import apart
from davis_exp.metrics.protocols import THRESHOLD
from davis_exp.results.artifact import Results, ResultsWriter
from davis_exp.results.matching import check_size
from davis_exp.results.reader import CUTOUT, PATHS
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.names import natural
from davis_exp.utils.parallel import Progress, ordered

PROVENANCE = "made from masks"
MEANINGS = ("auto", "soft", "ids", "binary", "alpha")
SAY = "say by --masks whether they are soft, or each an object (ids), or one is from the middle on (binary)"


def make(
    masks: Path,
    sequences: Sequence[VideoSequence],
    out: Path,
    metadata: dict[str, Any],
    *,
    meaning: str = "auto",
    void: int | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write the masks at `masks` as results of `sequences` into the folder `out`.

    A mask `<sequence>/<frame>.png` is of the frame of that name; in a folder without sequences, of the frame with the
    index that its name ends in (where the data set is a single sequence: of that name, if all have one).

    Args:
        metadata: what metadata.json is to say besides frames and provenance (nparams, nflops …).
        meaning: "auto", greys are confidences and all else is read as `data.masks` says; "soft", greys are confidences
            even where they are few; else as `MaskReader`.
        void: as `MaskReader`, for "ids".

    Returns:
        All that is wrong with them, one sentence each: then nothing is written. Empty if the results are there.

    Raises BadInput for a folder without masks, and where it cannot be told what they mean.
    """
    given = _open(masks)
    given.soft = meaning == "soft"
    reader = None if meaning in ("auto", "soft") else MaskReader(meaning, void)
    found = _matched(given, sequences)
    defects = [*given.defects, *_unmatched(given, sequences, found)]
    frames = [
        (index, frame, sequence.size)
        for sequence in sequences
        for index, frame in zip(sequence.index, sequence.frame_ids, strict=True)
        if index in found
    ]
    seen = np.zeros(256, bool)  # which confidences there are at all
    with ResultsWriter(out) as writer:

        def convert(task: tuple[int, str, tuple[int, int]]) -> str | None:
            index, frame, size = task
            own = found[index]
            try:
                head = given.header(own)
                check_size((head.height, head.width), size, quoted(given.paths[own]))
                confidence = given.confidence(own) if reader is None else given.marked(own, reader)
                check_size(confidence.shape, size, quoted(given.paths[own]))  # what EXIF turned
            except BadInput as error:
                return str(error)
            seen[:] |= np.bincount(confidence.reshape(-1), minlength=256) > 0
            writer.add(index, confidence, frame)
            return None

        defects += filter(None, ordered(convert, frames, len(frames), 1, progress))
        if not defects and meaning == "auto":
            _refuse_unclear(masks, np.flatnonzero(seen[1:]) + 1)
        if defects:
            writer.abort()
            return defects
        now = datetime.now().isoformat(timespec="seconds")
        writer.close({**metadata, "provenance": PROVENANCE, "created": now})
    return []


def _open(path: Path) -> Results:
    """Masks of any program: a plain folder, or one of masks alone, each of the index that its name ends in.

    Raises BadInput if there are none; other defects stay in `defects`.
    """
    masks = Results.open(path, strict=False)
    if PATHS in masks.files:
        raise BadInput(f"{path} holds results already: see what is wrong with them by davis-exp check")
    if masks.plain or any(name.lower().endswith((".jpg", ".jpeg")) for name in masks.files):
        return masks
    masks.plain, masks.defects = True, []
    for name in sorted((name for name in masks.files if re.fullmatch(r"[^/]+\.png", name)), key=natural):
        number = re.search(r"[0-9]{1,9}(?=\.png$)", name)
        if number is None:
            masks.defects.append(f"{quoted(name)} ends in no number: name masks 00000.png, 00001.png …")
        elif (other := masks.paths.setdefault(int(number[0]), name)) != name:
            masks.defects.append(f"{quoted(name)} and {quoted(other)} are both number {int(number[0])}")
    if not masks.paths and not masks.defects:
        raise BadInput(
            f"{path} holds no masks: name them <sequence>/<frame>.png, or by the data set's index, 00000.png …"
        )
    return masks


def _matched(masks: Results, sequences: Sequence[VideoSequence]) -> dict[int, int]:
    """Index in the data set → index of the mask."""
    if masks.frames is not None:
        own = {frame: index for index, frame in zip(masks.paths, masks.frames, strict=True)}
    else:
        own = {path.removesuffix(".png"): index for index, path in masks.paths.items()}
    ids = [
        (index, frame)
        for sequence in sequences
        for index, frame in zip(sequence.index, sequence.frame_ids, strict=True)
    ]
    if masks.frames is None:
        stems = {frame.rpartition("/")[2]: index for index, frame in ids}
        if len(sequences) != 1 or not own.keys() <= stems.keys():
            return {index: index for index, _ in ids if index in masks.paths}
        ids = [(index, stem) for stem, index in stems.items()]
    return {index: own[frame] for index, frame in ids if frame in own}


def _unmatched(masks: Results, sequences: Sequence[VideoSequence], found: dict[int, int]) -> Iterator[str]:
    """Frames without a mask, and masks without a frame."""
    for sequence in sequences:
        for index, frame in zip(sequence.index, sequence.frame_ids, strict=True):
            if index not in found:
                yield f"{frame} (index {index}) is missing: it has no mask"
    used = {masks.paths[index] for index in found.values()}
    for name in sorted(masks.files - used):
        if name.lower().endswith(".png") and CUTOUT not in name.split("/")[:-1]:
            yield f"{quoted(name)} is extra: the data set has no such frame"


def _refuse_unclear(masks: Path, levels: np.ndarray) -> None:
    """Raises BadInput if the confidences of all masks together may just as well be numbers or shades of objects."""
    shown = ", ".join(map(str, levels))
    if levels.size and levels[-1] < THRESHOLD:
        raise BadInput(
            f"{masks}: no confidence is over {levels[-1]} of 255, so all would be background: {SAY}"
        )
    if 1 < levels.size <= FEW and apart(levels):
        raise BadInput(f"{masks}: the masks hold the values {shown} and no others: {SAY}")
