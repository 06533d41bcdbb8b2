"""8-bit grey PNG files, as masks are stored: judged by their header before a single pixel is decoded, then decoded fast.

A PNG file holds differences to neighbouring pixels, by one of five *filters* a row. In a mask nearly all are zero, and
adding up where they are not takes a fraction of what a library takes to un-filter every pixel. That is done for images
whose rows are all differences to the left (DAVIS's own, OpenCV's) and for images of 0 and 255 whatever their filters
(Pillow's: `png_bits`); the rest is left to OpenCV. Filters: "PNG Specification", W3C, 3rd edition, section 9.
"""

import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from deflate import DeflateError, zlib_compress, zlib_decompress

from davis_exp.data.png_bits import SUB, Change, from_bits
from davis_exp.utils.errors import BadInput

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**24  # twice a 4K frame; what is larger is refused from its header
MAX_BYTES = 2**25
SAVE_AS = "save one 8-bit channel (mode L) of confidences 0…255"
GREY, PALETTE = 0, 3
MODES = {2: "RGB", PALETTE: "palette", 4: "grey + alpha (LA)", 6: "RGBA"}
RARE = 32  # in a mask at most one of so many pixels differs from its neighbour


class Header(NamedTuple):
    """What a PNG file says of itself: size in pixels, bits per channel, colour type, row order."""

    height: int
    width: int
    depth: int
    colour: int
    interlaced: bool


def header(data: bytes, name: str) -> Header:
    """Read the header of a PNG from its first 33 bytes or more, without decoding.

    Raises BadInput if it is no PNG, or announces more pixels than any frame has.
    """
    if not data:
        raise BadInput(f"{name} is empty: write the frame's mask again")
    if not data.startswith(SIGNATURE):
        raise BadInput(f"{name} is not a PNG file: save masks as PNG, mode L")
    if len(data) < 33 or data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\r":
        raise BadInput(f"{name} is truncated: its header is not whole; write the frame's mask again")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if zlib.crc32(data[12:29]) != struct.unpack(">I", data[29:33])[0]:
        raise BadInput(f"{name} is damaged: its header fails its checksum; write the frame's mask again")
    if not width or not height:
        raise BadInput(f"{name} is an image of {width}x{height} pixels: write the mask at the frame's size")
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{name} announces {width}x{height} pixels, more than {MAX_PIXELS:,}: refused without decoding"
        )
    return Header(height, width, depth, colour, bool(data[28]))


def check_mode(head: Header, name: str) -> None:
    """Raises BadInput, with the way out, unless the PNG is 8-bit grey."""
    if head.colour == PALETTE:
        raise BadInput(f"{name} is a palette mask (mode P): its values are colour numbers; {SAVE_AS}")
    if head.colour != GREY:
        raise BadInput(f"{name} is {MODES.get(head.colour, 'of an unknown colour type')}: {SAVE_AS}")
    if head.depth != 8:
        raise BadInput(f"{name} has {head.depth}-bit pixels, not 8: {SAVE_AS}")


def decode(data: bytes, name: str, change: Change = np.asarray) -> np.ndarray:
    """Decode an 8-bit grey PNG to (H, W) uint8, or to what `change` makes of its values.

    Raises BadInput for anything else or anything damaged.
    """
    head = header(data, name)
    check_mode(head, name)
    image = _quick(_pixel_data(data, name), head, change)
    if image is not None:
        return image
    # unlike Pillow's decoder this one lets go of the interpreter's lock, and refuses missing rows
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None or image.shape != (head.height, head.width):
        raise BadInput(f"{name} cannot be decoded: its pixels are damaged or cut short; write it again")
    return change(image)


def encode(image: np.ndarray) -> bytes:
    """Encode an (H, W) uint8 array as an 8-bit grey PNG, its rows differences to the left."""
    height, width = image.shape
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0], rows[:, 1] = SUB, image[:, 0]
    np.subtract(image[:, 1:], image[:, :-1], out=rows[:, 2:])
    ihdr = struct.pack(">IIBBBBB", width, height, 8, GREY, 0, 0, 0)
    return (
        SIGNATURE
        + _chunk(b"IHDR", ihdr)
        + _chunk(b"IDAT", bytes(zlib_compress(rows, 6)))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixel_data(data: bytes, name: str) -> bytes:
    """The compressed pixels. Raises BadInput unless every chunk is whole, up to the end marker."""
    position, view = len(SIGNATURE), memoryview(data)
    parts = []
    while position + 12 <= len(data):
        size = int.from_bytes(view[position : position + 4], "big")
        kind, end = bytes(view[position + 4 : position + 8]), position + 8 + size
        if end + 4 > len(data):
            break
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise BadInput(
                f"{name} is damaged: a part of it fails its checksum; write the frame's mask again"
            )
        if kind == b"acTL":
            raise BadInput(f"{name} is an animated PNG: write one mask a file")
        if kind == b"IDAT":
            parts.append(view[position + 8 : end])
        if kind == b"IEND":
            return b"".join(parts)
        position = end + 4
    raise BadInput(f"{name} is truncated: its end marker is missing; write the frame's mask again")


def _quick(packed: bytes, head: Header, change: Change) -> np.ndarray | None:
    """The image, if it is of a kind that can be put together from few differences."""
    stride = head.width + 1  # each row begins with the number of its filter
    size = head.height * stride
    if head.interlaced or len(packed) > size // RARE:
        return None
    try:
        raw = np.frombuffer(zlib_decompress(packed, size), np.uint8)
    except DeflateError:
        return None
    if len(raw) != size:
        return None
    rows = raw.reshape(head.height, stride)
    return _from_runs(rows, change) if (rows[:, 0] == SUB).all() else from_bits(rows, change)


def _from_runs(rows: np.ndarray, change: Change) -> np.ndarray | None:
    """The image of rows (H, 1 + W) that are all differences to the left: runs of equal pixels."""
    raw, stride = rows.reshape(-1), rows.shape[1]
    changes = _nonzero(raw)  # at every row's beginning too, since the filter's number is not 0
    if len(changes) > len(raw) // RARE:
        return None
    begins = changes % stride == 0
    steps = raw[changes]
    steps[begins] = 0
    values = np.add.accumulate(steps, dtype=np.uint8)  # modulo 256, as the format has it
    values -= values[begins][np.cumsum(begins) - 1]
    pixels: np.ndarray = np.repeat(change(values), np.diff(changes, append=len(raw)))
    return pixels.reshape(rows.shape)[:, 1:]


def _nonzero(raw: np.ndarray) -> np.ndarray:
    """As np.flatnonzero of few among many bytes, looking at eight at a time."""
    whole = len(raw) // 8 * 8
    words = raw[:whole].view(np.uint64)
    found = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[found].view(np.uint8) != 0)
    return np.concatenate([found[inside >> 3] * 8 + (inside & 7), np.flatnonzero(raw[whole:]) + whole])
