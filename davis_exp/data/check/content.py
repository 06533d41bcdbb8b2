"""What is wrong with the images of a data set: every one is decoded."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from davis_exp.data.check.findings import Finding, Survey, some
from davis_exp.data.sources.files import INDEXED, foreground, mask_values, opened
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import Progress, ordered

SAVE = "save one 8-bit channel of 0 and 255"
KINDS = {
    "1": "a 1-bit mask",
    "LA": "grey with alpha (LA)",
    "P": "a palette mask",
    "PA": "a palette mask with alpha",
    "RGB": "a colour image (RGB)",
    "RGBA": "a colour image with alpha (RGBA)",
    "I;16": "a 16-bit mask",
}
Size = tuple[int, int]  # height, width


class _Looked(NamedTuple):
    size: Size | None  # the frame's
    findings: list[Finding]


def contents(survey: Survey, *, workers: int = 2, progress: Progress | None = None) -> Iterator[Finding]:
    """Decode every frame and mask and yield what is wrong with them; memory holds a few at a time."""
    pairs = [(*pair, clip.name) for clip in survey.clips for pair in clip.pairs]

    def look(pair: tuple[Path | None, Path | None, str]) -> _Looked:
        return _look(survey, pair[0], pair[1])

    sizes: dict[Size, list[str]] = defaultdict(list)
    looked = ordered(look, pairs, len(pairs), workers, progress)
    for i, ((frame, _, clip), (size, findings)) in enumerate(zip(pairs, looked, strict=True)):
        yield from findings
        if frame is not None and size is not None:
            sizes[size].append(frame.name)
        if i + 1 == len(pairs) or pairs[i + 1][2] != clip:
            yield from _uneven(clip, sizes)
            sizes.clear()


def _look(survey: Survey, frame: Path | None, mask: Path | None) -> _Looked:
    size, findings = None, []
    if frame is not None:
        try:
            size = _decoded_size(frame)
        except BadInput as error:
            findings.append(_unreadable(survey, error))
    if mask is not None:
        try:
            findings += _mask_findings(mask, survey.named(mask), size)
        except BadInput as error:
            findings.append(_unreadable(survey, error))
    return _Looked(size, findings)


def _decoded_size(frame: Path) -> Size:
    """A frame's size. Raises BadInput unless all of the file can be decoded."""
    with opened(frame, "frame") as image:
        size = image.height, image.width
        image.draft("L", (1, 1))  # a JPEG's whole stream is read, but only an eighth of its size computed
        image.load()
    return size


def _mask_findings(path: Path, name: str, size: Size | None) -> Iterator[Finding]:
    with opened(path, "mask") as image:
        own = image.height, image.width
        if size is not None and own != size:
            yield Finding(f"{name} is {_text(own)} where its frame is {_text(size)}", "write it at that size")
            return
        values = mask_values(image)
        inside = values != 0 if image.mode in INDEXED else foreground(values)
        problem = _lossy(image, values, inside)
        if problem:
            yield Finding(f"{name} {problem[0]}", problem[1])
            return
        plain = image.mode == "L" and image.format == "PNG"
        highest = values.max(initial=0)
        if not plain or highest not in (0, 255):
            kind = f"{KINDS.get(image.mode, image.mode)}" if image.mode != "L" else f"a {image.format} file"
            if plain:
                kind = "a 0/1 mask" if highest == 1 else f"a mask of 0 and {highest}"
            yield Finding(f"{name} is {kind}", SAVE, mask=path)
    if not inside.any():
        yield Finding(f"{name} is empty", "no object is marked in its frame", note=True)


def _lossy(image: Image.Image, values: np.ndarray, inside: np.ndarray) -> tuple[str, str] | None:
    """What makes a mask say more, or other things, than what is read from it; None if nothing does."""
    if image.mode in ("RGB", "RGBA"):
        red, green, blue = (np.asarray(image.getchannel(band)) for band in "RGB")
        if not np.array_equal(red, green) or not np.array_equal(red, blue):
            return "is in colour, of which only the brightness counts", SAVE
    if image.mode in ("LA", "PA", "RGBA") and np.ptp(np.asarray(image.getchannel("A"))):
        return "has an alpha channel that is not even, and is ignored", SAVE
    highest = values.max(initial=0)
    between = values[(values != 0) & (values != highest)]
    if between.size and image.mode in INDEXED:
        return "is a palette mask of several objects, which count as one", f"{SAVE}, if they should"
    if between.size:
        return f"is soft: it holds {between[0]} too, and only what is bright counts", SAVE
    if highest and not inside.any():
        return f"holds nothing brighter than {highest}, and counts as empty", "write 255 where the object is"
    return None


def _uneven(clip: str, sizes: dict[Size, list[str]]) -> Iterator[Finding]:
    most = max(sizes, key=lambda size: len(sizes[size]), default=None)
    for size, names in sizes.items():
        if most is not None and size != most:
            yield Finding(
                f"{clip}: {some(names)} is {_text(size)} where the other frames are {_text(most)}",
                "a sequence has one size",
            )


def _unreadable(survey: Survey, error: BadInput) -> Finding:
    what, _, remedy = str(error).replace(f"{survey.root}/", "").rpartition(": ")
    return Finding(what, remedy)


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
