"""What is wrong with the images of a data set: every one is decoded."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from davis_exp.data.check.findings import Clip, Finding, Survey, some
from davis_exp.data.frames import check_single
from davis_exp.data.masks import Mask, MaskReader
from davis_exp.data.pictures import opened, orientation
from davis_exp.data.shades import grey_values
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
    seen: frozenset[int] = frozenset()  # 0, 1: whether the mask has pixels outside, inside the object


def contents(
    survey: Survey, *, workers: int = 2, progress: Progress | None = None, reader: MaskReader | None = None
) -> Iterator[Finding]:
    """Decode every frame and mask and yield what is wrong with them; memory holds a few at a time."""
    pairs = [(*pair, clip) for clip in survey.clips for pair in clip.pairs]
    reader = reader or MaskReader()

    def look(pair: tuple[Path | None, Path | None, Clip]) -> _Looked:
        return _look(survey, *pair, reader)

    sizes: dict[Size, list[str]] = defaultdict(list)
    masks, seen = 0, set[int]()
    looked = ordered(look, pairs, len(pairs), workers, progress)
    for i, ((frame, _, clip), found) in enumerate(zip(pairs, looked, strict=True)):
        yield from found.findings
        masks, seen = masks + bool(found.seen), seen | found.seen
        if frame is not None and found.size is not None:
            sizes[found.size].append(frame.name)
        if i + 1 == len(pairs) or pairs[i + 1][2] is not clip:
            yield from _uneven(clip.name, sizes)
            sizes.clear()
    if len(seen) == 1:
        word = "everything" if 1 in seen else "nothing"
        yield Finding(
            f"all {masks} masks mark {word}, as they are read",
            "say by data.masks (or --masks) what marks the object",
        )


def _look(survey: Survey, frame: Path | None, mask: Path | None, clip: Clip, reader: MaskReader) -> _Looked:
    size, findings, seen = None, [], frozenset[int]()
    if frame is not None:
        try:
            size = _decoded_size(frame)
        except BadInput as error:
            findings.append(_unreadable(survey, error))
    if mask is not None:
        try:
            of_mask, seen = _of_mask(mask, survey.named(mask), size, clip.reader or reader, bool(clip.reader))
            findings += of_mask
        except BadInput as error:
            findings.append(_unreadable(survey, error))
    return _Looked(size, findings, seen)


def _decoded_size(frame: Path) -> Size:
    """A frame's size. Raises BadInput unless all of the file can be decoded."""
    with opened(frame, "frame") as image:
        check_single(image, frame)
        size = image.height, image.width
        if orientation(image) > 4:
            size = size[::-1]
        image.draft("L", (1, 1))  # a JPEG's whole stream is read, but only an eighth of its size computed
        image.load()
    return size


def _of_mask(
    path: Path, name: str, size: Size | None, reader: MaskReader, published: bool
) -> tuple[list[Finding], frozenset[int]]:
    """What is wrong with a mask, and which of 0 and 1 it is read as. `published` ones may have any form."""
    with opened(path, "mask") as image:
        mask = reader.read(path) if published else reader.of(image, f"mask {path}")
        own = mask.ids.shape[0], mask.ids.shape[1]
        if size is not None and own != size:
            what = f"{name} is {_text(own)} where its frame is {_text(size)}"
            return [Finding(what, "write it at that size")], frozenset()
        findings = [] if published else list(_form(image, mask, path, name))
    seen = frozenset(np.unique(mask.inside).tolist())
    if 1 not in seen:
        findings.append(Finding(f"{name} is empty", "no object is marked in its frame", note=True))
    if mask.void is not None:
        findings.append(
            Finding(f"{name} has void pixels", "they are no object, and are not judged", note=True)
        )
    return findings, seen


def _form(image: Image.Image, mask: Mask, path: Path, name: str) -> Iterator[Finding]:
    """What makes a file another than one of 0 and 255, whose meaning everybody agrees on."""
    kind, plain = KINDS.get(image.mode, image.mode), image.mode == "L" and image.format == "PNG"
    values = grey_values(image) if image.mode not in ("P", "PA") else None
    if mask.kind == "soft":
        assert values is not None
        between = values[(values != 0) & (values != values.max())][0]
        yield Finding(f"{name} is soft: it holds {between} too, and only what is bright counts", SAVE)
        return
    if len(np.unique(mask.ids[mask.ids != 0])) > 1:
        many = f"is {kind} of several objects" if not plain else "holds the numbers of several objects"
        yield Finding(f"{name} {many}, which count as one", f"{SAVE}, if they should")
        return
    if mask.void is not None:
        return
    if mask.kind == "alpha":
        yield Finding(f"{name} has its object in the alpha channel", SAVE, mask=path)
    elif not plain:
        kind = kind if image.mode != "L" else f"a {image.format} file"
        yield Finding(f"{name} is {kind}", SAVE, mask=path)
    elif values is not None and (highest := values.max(initial=0)) not in (0, 255):
        kind = "a 0/1 mask" if highest == 1 else f"a mask of 0 and {highest}"
        yield Finding(f"{name} is {kind}", SAVE, mask=path)


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
