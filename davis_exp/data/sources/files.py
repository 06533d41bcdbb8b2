"""Sequences whose frames and masks are image files: what every on-disk layout shares."""

import re
import struct
from collections.abc import Sequence as Listing
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from davis_exp.data import png
from davis_exp.data.pictures import MAX_PIXELS, content_of, decoded, open_file, opened
from davis_exp.data.resizing import halved
from davis_exp.data.sequences import Sequence
from davis_exp.utils.errors import BadInput

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
BEGINNING = 4096  # bytes that a header is looked for in
JPEG_START = b"\xff\xd8"
FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # what begins the description of a JPEG's pixels
JPEG_END = b"\xff\xd9"
RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
JPEG_HALVED = (  # how OpenCV is asked to halve a JPEG none, one, two, three times; "GRAYSCALE" stands for no colour flag
    RGB,
    RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
)
INDEXED = ("P", "PA", "1")  # image modes whose values are names, not brightness
SCALES = (1, 255, 65535)
COLOUR = 2**24  # from here on a number in a mask is a colour


class FileSequence(Sequence):
    """A sequence of image files.

    Args:
        name: the sequence's name.
        key: what identifies its content, the same for every resolution of one data set.
        frames: one image file per frame, in order.
        masks: as many mask files, None for a frame without one; or None where the sequence is unlabelled.
        first: global index of the first frame, or one index per frame.
    """

    def __init__(
        self,
        name: str,
        key: str,
        frames: Listing[Path],
        masks: Listing[Path | None] | None,
        first: int | Listing[int] = 0,
    ) -> None:
        self.name = name
        self.frames = tuple(frames)
        self.masks = None if masks is None else tuple(masks)
        self.index = tuple(range(first, first + len(frames)) if isinstance(first, int) else first)
        self.frame_ids = tuple(f"{name}/{path.stem}" for path in frames)
        self._annotated = tuple(i for i, mask in enumerate(masks or ()) if mask is not None)
        self.labelled = bool(self._annotated)
        self._key = key
        self._sizes: dict[int, tuple[int, int]] = {}  # of the frames that were asked for theirs

    @property
    def annotated(self) -> tuple[int, ...]:
        return self._annotated

    @property
    def key(self) -> str:
        return self._key

    @property
    def size(self) -> tuple[int, int]:
        return self._size(0)

    def _size(self, i: int) -> tuple[int, int]:
        """(height, width) of frame `i`; its file is opened once for that."""
        if i not in self._sizes:
            self._sizes[i] = image_size(self.frames[i])
        return self._sizes[i]

    def frame(self, i: int) -> np.ndarray:
        return read_frame(self.frames[i])

    def reduced(self, i: int, halvings: int) -> np.ndarray:
        return read_frame(self.frames[i], halvings)

    def mask(self, i: int) -> np.ndarray:
        files = self.mask_files(i)
        if not files:
            raise BadInput(f"{self.name} has no annotations ({self.frames[i]}): use labelled data for this")
        expected, made = self._size(i), None
        for path in files:
            mask = self.read(path)
            if mask.shape != expected:
                raise BadInput(
                    f"{path} is {mask.shape[0]}x{mask.shape[1]} but its frame {self.frames[i]} is "
                    f"{expected[0]}x{expected[1]}: masks must have their frame's size"
                )
            made = mask if made is None else made | mask
        assert made is not None
        return made

    def read(self, path: Path) -> np.ndarray:
        """One of its mask files as (H, W) uint8, 1 = foreground."""
        return read_mask(path)

    def frame_file(self, i: int) -> Path:
        return self.frames[i]

    def mask_files(self, i: int) -> tuple[Path, ...]:
        mask = None if self.masks is None else self.masks[i]
        return () if mask is None else (mask,)


def read_frame(path: Path, halvings: int = 0) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB, its sides halved so often (upwards).

    JPEGs are halved while being decoded, which saves most of the work; the result differs from an average of four
    pixels by less than a grey level on average. Raises BadInput naming the file if it is missing or damaged.
    """
    data = content_of(path, "frame")
    frame = _decode_jpeg(data, halvings)
    if frame is None:
        with decoded(data, path, "frame") as image:
            frame = halved(np.asarray(image.convert("RGB")), halvings)
    return frame


def _decode_jpeg(data: bytes, halvings: int) -> np.ndarray | None:
    """As `read_frame`, by OpenCV: the same pixels as Pillow's in a third of the time. None if Pillow should judge."""
    height, width, channels = _jpeg_shape(data) or (0, 0, 0)
    # Cut short, OpenCV would fill up with grey in silence; colours of other kinds it would convert otherwise.
    if data[-2:] != JPEG_END or channels not in (1, 3) or height * width > MAX_PIXELS:
        return None
    decoding = min(halvings, len(JPEG_HALVED) - 1)
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), JPEG_HALVED[decoding])
    return None if frame is None else halved(frame, halvings - decoding)


def _jpeg_shape(data: bytes) -> tuple[int, int, int] | None:
    """(height, width, channels) from the beginning of a JPEG file; None where it is not found there."""
    position = 2
    while data[:2] == JPEG_START and data[position : position + 1] == b"\xff" and position + 10 <= len(data):
        marker = data[position + 1]
        if marker in FRAME_MARKERS:
            height, width, channels = struct.unpack(">HHB", data[position + 5 : position + 10])
            return height, width, channels
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def read_mask(path: Path) -> np.ndarray:
    """A mask file as (H, W) uint8, 1 = foreground.

    In a palette or 1-bit mask every value but 0 is foreground; any other is read by `foreground` from its
    luminance. Alpha is ignored, since an original file (bear/00077.png) is grey with alpha. Raises BadInput
    as `read_frame` does.
    """
    data = content_of(path, "mask")
    with suppress(BadInput):  # of other kinds, and of damaged ones, Pillow shall judge
        return png.decode(data, path.name, foreground).view(np.uint8)
    with decoded(data, path, "mask") as image:
        values = mask_values(image)
        inside = values != 0 if image.mode in INDEXED else foreground(values)
    return inside.view(np.uint8)


def read_ids(path: Path) -> np.ndarray:
    """What a mask file calls each pixel: (H, W) int32, a palette's index or a grey value as it is stored.

    A colour but black is COLOUR + red·65536 + green·256 + blue; alpha is ignored. Raises BadInput as `read_frame` does.
    """
    with decoded(content_of(path, "mask"), path, "mask") as image:
        if image.mode in ("LA", "PA"):
            image = image.getchannel(0)
        if image.mode == "1" or image.mode.partition(";")[0] in ("L", "P", "I"):
            return np.asarray(image).astype(np.int32)
        red, green, blue = (
            channel.astype(np.int32) for channel in np.moveaxis(np.asarray(image.convert("RGB")), 2, 0)
        )
    ids: np.ndarray = red << 16 | green << 8 | blue
    return np.where(ids, ids + COLOUR, 0)


def mask_values(image: Image.Image) -> np.ndarray:
    """What a mask file holds, (H, W): a palette's or a bit's value, or else the luminance."""
    if image.mode == "PA":
        image = image.getchannel(0)
    # greys of 16 and 32 bits stay as they are: Pillow would clip them to 8
    as_it_is = image.mode in INDEXED or image.mode.partition(";")[0] in ("L", "I", "F")
    return np.asarray(image if as_it_is else image.convert("L"))


def foreground(grey: np.ndarray) -> np.ndarray:
    """Where a grey mask of any shape is foreground, as the judge rounds it: from the middle of its scale on.

    The scale is the smallest of 1, 255 and 65535 that holds the largest value: 128 of 255 is foreground, 127
    is not, and a mask of zeros and ones counts as one.
    """
    highest = grey.max(initial=0)
    scale = next((scale for scale in SCALES if highest <= scale), highest)
    # a fraction would have 8-bit values compared as 64-bit ones
    inside: np.ndarray = grey > (scale // 2 if grey.dtype.kind == "u" else scale / 2)
    return inside


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from a file's header. Raises BadInput as `read_frame` does."""
    with open_file(path, "image") as file:
        shape = _jpeg_shape(file.read(BEGINNING))
    if shape is not None and min(shape) > 0:
        return shape[:2]
    with opened(path, "image") as image:
        return image.height, image.width


def by_number(path: Path) -> tuple[int, str]:
    """Sort key: the number a file's name ends in (so that 10 follows 9), then the name."""
    digits = re.search(r"(\d+)$", path.stem)
    return int(digits[1]) if digits else -1, path.name
