"""8-bit grey PNG files, and nothing else: the header is judged before a single pixel is decoded."""

import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np

from davis_exp.errors import BadInput

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**24  # twice a 4K frame; what is larger is refused from its header
MAX_BYTES = 2**25
SAVE_AS = "save one 8-bit channel (mode L) of confidences 0…255"
GREY, PALETTE = 0, 3
MODES = {2: "RGB", PALETTE: "palette", 4: "grey + alpha (LA)", 6: "RGBA"}


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


def decode(data: bytes, name: str) -> np.ndarray:
    """Decode an 8-bit grey PNG to (H, W) uint8. Raises BadInput for anything else or anything damaged."""
    head = header(data, name)
    check_mode(head, name)
    image = _decode_runs(_pixel_data(data, name), head)
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
    return image


def encode(image: np.ndarray) -> bytes:
    """Encode an (H, W) uint8 array as an 8-bit grey PNG."""
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise OSError(f"OpenCV could not encode an image of shape {image.shape}")
    return data.tobytes()


def _decode_runs(packed: bytes, head: Header) -> np.ndarray | None:
    """Decode an image stored as differences to the left neighbour (filter Sub), as DAVIS's masks are.

    Nearly all differences in a mask are zero, so its rows are runs: adding up where they are not, then
    filling, takes half of what un-filtering every pixel does. None for any other image: that is OpenCV's.
    """
    stride = head.width + 1  # each row begins with the number of its filter: 1 is Sub
    stream = zlib.decompressobj()
    try:
        if head.interlaced or zlib.decompressobj().decompress(packed[:1024], 1) != b"\1":
            return None
        raw = np.frombuffer(stream.decompress(packed, head.height * stride + 1), np.uint8)
    except zlib.error:
        return None
    if not stream.eof or len(raw) != head.height * stride or (raw[::stride] != 1).any():
        return None
    changes = raw != 0  # at every row's beginning too, since the filter's number is not 0
    if np.count_nonzero(changes) > len(raw) // 32:
        return None  # a soft mask: its list of runs would be longer than the image
    runs = np.flatnonzero(changes)
    begins = runs % stride == 0
    steps = raw[runs]
    steps[begins] = 0
    values = np.add.accumulate(steps, dtype=np.uint8)  # modulo 256, as the format has it
    values -= values[begins][np.cumsum(begins) - 1]
    pixels: np.ndarray = np.repeat(values, np.diff(runs, append=len(raw)))
    return pixels.reshape(head.height, stride)[:, 1:]


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
