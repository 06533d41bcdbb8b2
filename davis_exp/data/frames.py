"""Frames as files: the right way up, of 8 bits a channel whatever they are stored with, and never one of several."""

import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from davis_exp.data.pictures import (
    MAX_PIXELS,
    content_of,
    decoded,
    open_file,
    opened,
    orientation,
    turned,
    upright,
)
from davis_exp.data.resizing import halved
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
BEGINNING = 4096  # bytes that a header is looked for in
JPEG_START = b"\xff\xd8"
FRAME_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # what begins the description of a JPEG's pixels
ABOUT = 0xE1  # the marker of what a camera says of a picture
JPEG_END = b"\xff\xd9"
RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
JPEG_HALVED = (  # how OpenCV is asked to halve a JPEG none, one, two, three times; "GRAYSCALE" stands for no colour flag
    RGB,
    RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
)
ANIMATED = ("PNG", "GIF", "WEBP")


def read_frame(path: Path, halvings: int = 0) -> np.ndarray:
    """An image file as (H, W, 3) uint8 RGB, the right way up, its sides halved so often (upwards).

    16 bits a channel become 8, of the whole scale. JPEGs are halved while being decoded, which saves most of the work;
    the result differs from an average of four pixels by less than a grey level on average. Raises BadInput naming the
    file if it is missing, damaged or an animation.
    """
    data = content_of(path, "frame")
    frame = _decode_jpeg(data, halvings)
    if frame is None:
        with decoded(data, path, "frame") as image:
            check_single(image, path)
            frame = halved(colours(image), halvings)
    return frame


def check_single(image: Image.Image, path: Path) -> None:
    """Raises BadInput for an animation, of which a frame would be one picture only."""
    several = getattr(image, "n_frames", 1) if image.format in ANIMATED else 1
    if several > 1:
        raise BadInput(
            f"frame {given.shown(path)} is an animation of {several} pictures: give it alone to `predict`, or save its "
            "pictures as files of their own"
        )


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from a file's header, the right way up. Raises BadInput as `read_frame` does."""
    with open_file(path, "image") as file:
        head = _jpeg_head(file.read(BEGINNING))
    if head is not None and min(head[:2]) > 0:
        height, width, _, turn = head
    else:
        with opened(path, "image") as image:
            height, width, turn = image.height, image.width, orientation(image)
    return (width, height) if turn > 4 else (height, width)


def colours(image: Image.Image) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB, the right way up. Raises ValueError where its values have no scale."""
    if image.mode.partition(";")[0] in ("I", "F"):  # of these Pillow would clip what is over 255
        picture = np.repeat(_eight_bits(np.asarray(image), image.mode)[..., None], 3, axis=2)
    else:
        picture = np.asarray(image.convert("RGB"))
    return upright(picture, orientation(image))


def _eight_bits(grey: np.ndarray, mode: str) -> np.ndarray:
    """Grey values of 16 or 32 bits, or fractions, as uint8."""
    low, high = grey.min(initial=0), grey.max(initial=0)
    scale = 1 if mode == "F" and high <= 1 else 255 if high <= 255 and mode in ("I", "F") else 65535
    if not low >= 0 or not high <= scale:
        raise ValueError(f"values from {low} to {high} are neither of 8 nor of 16 bits")
    return np.rint(grey.astype(np.float32) * np.float32(255 / scale)).astype(np.uint8)


def _decode_jpeg(data: bytes, halvings: int) -> np.ndarray | None:
    """As `read_frame`, by OpenCV: the same pixels as Pillow's in a third of the time. None if Pillow should judge."""
    height, width, channels, turn = _jpeg_head(data) or (0, 0, 0, 1)
    # Cut short, OpenCV would fill up with grey in silence; colours of other kinds it would convert otherwise.
    if data[-2:] != JPEG_END or channels not in (1, 3) or height * width > MAX_PIXELS:
        return None
    decoding = min(halvings, len(JPEG_HALVED) - 1)
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), JPEG_HALVED[decoding])
    return None if frame is None else upright(halved(frame, halvings - decoding), turn)


def _jpeg_head(data: bytes) -> tuple[int, int, int, int] | None:
    """(height, width, channels, orientation) from the beginning of a JPEG file, of the pixels as they are stored.

    None where it is not found there.
    """
    position, turn = 2, 1
    while data[:2] == JPEG_START and data[position : position + 1] == b"\xff" and position + 10 <= len(data):
        marker = data[position + 1]
        if marker in FRAME_MARKERS:
            height, width, channels = struct.unpack(">HHB", data[position + 5 : position + 10])
            return height, width, channels, turn
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == ABOUT and data.startswith(b"Exif\0\0", position + 4) and end <= len(data):
            turn = turned(data[position + 4 : end])
        position = end
    return None
