"""Sequences whose frames and masks are image files: what every on-disk layout shares."""

import re
from collections.abc import Sequence as Listing
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from davis_exp.data.sequences import Sequence
from davis_exp.errors import BadInput

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")


class FileSequence(Sequence):
    """A sequence of image files.

    Args:
        name: the sequence's name.
        key: what identifies its content, the same for every resolution of one data set.
        frames: one image file per frame, in order.
        masks: as many mask files, or None where the sequence is unlabelled.
        first: global index of the first frame, or one index per frame.
    """

    def __init__(
        self,
        name: str,
        key: str,
        frames: Listing[Path],
        masks: Listing[Path] | None,
        first: int | Listing[int] = 0,
    ) -> None:
        self.name = name
        self.frames = tuple(frames)
        self.masks = None if masks is None else tuple(masks)
        self.index = tuple(range(first, first + len(frames)) if isinstance(first, int) else first)
        self.frame_ids = tuple(f"{name}/{path.stem}" for path in frames)
        self.labelled = masks is not None
        self._key = key

    @property
    def key(self) -> str:
        return self._key

    @cached_property
    def size(self) -> tuple[int, int]:
        return image_size(self.frames[0])

    def frame(self, i: int) -> np.ndarray:
        return read_frame(self.frames[i])

    def mask(self, i: int) -> np.ndarray:
        if self.masks is None:
            raise BadInput(f"{self.name} has no annotations ({self.frames[i]}): use labelled data for this")
        mask = read_mask(self.masks[i])
        expected = image_size(self.frames[i])
        if mask.shape != expected:
            raise BadInput(
                f"{self.masks[i]} is {mask.shape[0]}x{mask.shape[1]} but its frame {self.frames[i]} is "
                f"{expected[0]}x{expected[1]}: masks must have their frame's size"
            )
        return mask

    def frame_file(self, i: int) -> Path:
        return self.frames[i]


def read_frame(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB. Raises BadInput naming the file if it is missing or damaged."""
    return np.asarray(_load(path, "frame", "RGB"))


def read_mask(path: Path) -> np.ndarray:
    """A mask file as (H, W) uint8, 1 where its luminance is not zero.

    Any mode will do (L, P, 1, RGB, 16 bit …): colours and palettes count by luminance, and alpha is ignored,
    since an original file (bear/00077.png) is grey with alpha. Raises BadInput as `read_frame` does.
    """
    image = _load(path, "mask", None)
    # 16- and 32-bit greys are compared as they are: converting to 8 bits would clip or truncate small values.
    grey = image if image.mode[0] in "IF" else image.convert("L")
    return (np.asarray(grey) != 0).astype(np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from a file's header. Raises BadInput as `read_frame` does."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise _unreadable(path, "image", error) from error


def _load(path: Path, what: str, mode: str | None) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image if mode is None else image.convert(mode)
    # Damaged files make Pillow raise SyntaxError (PNG chunks) and ValueError too.
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, what, error) from error


def _unreadable(path: Path, what: str, error: Exception) -> BadInput:
    if isinstance(error, FileNotFoundError):
        return BadInput(f"{what} {path} is missing: restore the file, or get the data set again")
    reason = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return BadInput(f"{what} {path} cannot be read ({reason}): replace the file, or get the data set again")


def by_number(path: Path) -> tuple[int, str]:
    """Sort key: the number a file's name ends in (so that 10 follows 9), then the name."""
    digits = re.search(r"(\d+)$", path.stem)
    return int(digits[1]) if digits else -1, path.name
