"""Picture files, which may be anybody's: a file indeed, of a kind that is read, and no larger than any picture."""

import contextlib
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, brief

# Of damage and size: what matters of it is said in our own line.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow's names
MAX_PIXELS = 2**26  # of a picture: 8192 x 8192
MAX_BYTES = 2**28
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    EOFError,
    TypeError,
    struct.error,
    MemoryError,
)  # what Pillow raises of a file
ORIENTATION = 0x0112  # EXIF's number of how a camera was held
# By what EXIF says of how it was held: the steps along both sides, after these are exchanged from 5 on.
UPRIGHT = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}


@contextmanager
def opened(path: Path, what: str) -> Iterator[Image.Image]:
    """An image file, closed afterwards; whatever goes wrong with it raises BadInput naming the file.

    Only its header is read before its pixels are asked for; from that, one of more than MAX_PIXELS is refused.
    """
    with open_file(path, what) as file, decoded(file, path, what) as image:
        yield image


@contextmanager
def decoded(content: bytes | IO[bytes], path: Path, what: str) -> Iterator[Image.Image]:
    """As `opened`, of what is in its file already."""
    try:
        with Image.open(
            BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS
        ) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadInput(
                    f"{what} {given.shown(path)} announces {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}: "
                    "refused without decoding"
                )
            if image.format == "PPM" and image.tile[0].codec_name == "ppm_plain":
                raise ValueError(
                    "its pixels are written as text, which takes minutes to read: save it in binary"
                )
            yield image
    except (*DAMAGED, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else brief(error)
        raise _unreadable(path, what, reason) from error


def open_file(path: Path, what: str) -> IO[bytes]:
    """A picture's file, which is a file indeed, and no larger than any picture. Raises BadInput."""
    try:
        return given.open_file(path, MAX_BYTES)
    except BadInput as error:
        if not path.exists():
            raise BadInput(
                f"{what} {given.shown(path)} is missing: restore the file, or get the data set again"
            ) from None
        raise _unreadable(path, what, str(error)) from error


def content_of(path: Path, what: str) -> bytes:
    """The bytes of a picture's file. Raises BadInput as `read_frame` does."""
    with open_file(path, what) as file:
        try:
            return file.read()
        except OSError as error:
            raise _unreadable(path, what, error.strerror or "no reason given") from error


def orientation(image: Image.Image) -> int:
    """How an opened picture is stored, as EXIF numbers it: 1 for the right way up. (Pillow turns TIFF itself.)"""
    return turned(image.info.get("exif") or b"")


def turned(exif: bytes) -> int:
    """As `orientation`, from what a camera says of a picture: a TIFF file's directory, of which one entry counts."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    with contextlib.suppress(struct.error):
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for i in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * i)
            if tag == ORIENTATION and value in UPRIGHT:
                return int(value)
    return 1


def upright(picture: np.ndarray, turn: int) -> np.ndarray:
    """(H, W, …) the right way up, where `turn` is its `orientation`; contiguous."""
    if turn == 1:
        return picture
    down, right = UPRIGHT[turn]
    return np.ascontiguousarray((picture.swapaxes(0, 1) if turn > 4 else picture)[::down, ::right])


def _unreadable(path: Path, what: str, reason: str) -> BadInput:
    return BadInput(
        f"{what} {given.shown(path)} cannot be read ({reason}): replace the file, or get the data set again"
    )
