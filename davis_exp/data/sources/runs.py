"""Grey PNG files, as masks are stored, decoded faster than by Pillow: DAVIS's own as runs of equal pixels.

DAVIS stores each pixel's difference to its left neighbour (filter "Sub"), and nearly all differences in a mask are
zero: adding up where they are not takes a fraction of what un-filtering every pixel does.
"""

import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np

try:  # libdeflate, where it is installed: fifteen times faster on masks
    from deflate import zlib_decompress as _inflate
except ImportError:

    def _inflate(packed: bytes, size: int) -> bytes:
        return zlib.decompressobj().decompress(packed, size + 1)


SIGNATURE = b"\x89PNG\r\n\x1a\n"
PLAIN = b"\x08\0\0\0\0"  # depth 8, grey, deflated, filtered by row, not interlaced
MAX_PIXELS = 2**24  # what announces more is left to others to refuse


class Runs(NamedTuple):
    """An image (height, width), row after row: `values`, each so many times as `lengths` says."""

    values: np.ndarray  # uint8
    lengths: np.ndarray
    shape: tuple[int, int]

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """The image with other `values`, one for each run: a view of its rows."""
        height, width = self.shape
        return np.repeat(values, self.lengths).reshape(height, width + 1)[:, 1:]


def runs(data: bytes) -> Runs | None:
    """The runs of an 8-bit grey PNG whose rows are all differences; None for any other file, or one damaged.

    Each row begins with one pixel too many, which `Runs.pixels` leaves out.
    """
    found = _packed(data)
    if found is None:
        return None
    (height, width), packed = found
    stride = width + 1  # each row begins with the number of its filter: 1 is Sub
    try:
        if zlib.decompressobj().decompress(packed[:1024], 1) != b"\1":
            return None
        raw = np.frombuffer(_inflate(packed, height * stride), np.uint8)
    except Exception:  # deflate's error is a class of its own
        return None
    if len(raw) != height * stride or (raw[::stride] != 1).any():
        return None
    changes = np.flatnonzero(raw != 0)  # at every row's beginning too, since the filter's number is not 0
    if len(changes) > len(raw) // 32:
        return None  # no mask: its list of runs would be longer than the image
    begins = changes % stride == 0
    steps = raw[changes]
    steps[begins] = 0
    values = np.add.accumulate(steps, dtype=np.uint8)  # modulo 256, as the format has it
    values -= values[begins][np.cumsum(begins) - 1]
    return Runs(values, np.diff(changes, append=len(raw)), (height, width))


def grey(data: bytes) -> np.ndarray | None:
    """The pixels (H, W) of any 8-bit grey PNG; None for any other file, or one damaged."""
    found = _packed(data)
    if found is None:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    return image if image is not None and image.shape == found[0] else None


def _packed(data: bytes) -> tuple[tuple[int, int], bytes] | None:
    """(height, width) and the compressed pixels of a plain grey PNG, if it is one and all its parts are whole."""
    if data[:16] != SIGNATURE + b"\0\0\0\rIHDR" or data[24:29] != PLAIN:
        return None
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < width * height <= MAX_PIXELS:
        return None
    position, parts = len(SIGNATURE), []
    while position + 12 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        kind, end = data[position + 4 : position + 8], position + 8 + size
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return None
        if kind == b"IDAT":
            parts.append(data[position + 8 : end])
        elif kind == b"IEND":
            return (height, width), b"".join(parts)
        elif kind in (b"acTL", b"tRNS"):
            return None
        position = end + 4
    return None
