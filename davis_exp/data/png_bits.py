"""PNG images of 0 and 255 alone, un-filtered with a bit a pixel: what makes masks that Pillow wrote cheap to score.

Pillow chooses a filter for each row, and un-filtering byte by byte costs more than all that scoring does with a mask: left
to OpenCV, scoring takes 1.5 times as long where Pillow wrote the predictions, twice as long where it wrote the truth too.
To do without this module, let `png` return None in place of `from_bits`.

Why bits will do. Write 1 for 255. A file holds pixel minus prediction, modulo 256: where the prediction is 0 or 255 too,
that is 0 where it was right and 1 or 255 where it was wrong, so "differs" is a bit as well, and pixel = prediction XOR
differs. With x the row, `above` the row above it and d the bits that differ:

    NONE   x[i] = d[i]
    SUB    x[i] = d[i] ^ x[i-1], so x[i] = d[0] ^ … ^ d[i]: the parity of all bits so far, `_running_parity`
    UP     x[i] = d[i] ^ above[i]
    PAETH  x[i] = d[i] ^ x[i-1], but d[i] ^ above[i] where the row above changes, above[i] != above[i-1]: `_paeth`
    AVERAGE  of two equal pixels predicts what PAETH does; of others 127, which makes differences that are refused

A row is held as one whole number, so that each of these is a few operations on a row and not on a pixel.
"""

from collections.abc import Callable

import numpy as np

NONE, SUB, UP, AVERAGE, PAETH = range(5)  # filters: what a row's pixels are differences to
PARITY = np.array(
    [sum((k & (2 << i) - 1).bit_count() % 2 << i for i in range(8)) for k in range(256)], np.uint8
)  # of each byte: bit i is the parity of its bits 0 to i

Change = Callable[[np.ndarray], np.ndarray]
"""Values of any shape to others; what becomes of one may depend on which others there are, not on where they are."""


def from_bits(rows: np.ndarray, change: Change) -> np.ndarray | None:
    """The image of rows (H, 1 + W), each its filter's number and its differences; None if it holds more than 0 and 255.

    In a row's number the lowest bit stands for the 0 to the left of the row, where the filter's number was.
    """
    filters, rows = rows[:, 0], rows.copy()
    rows[:, 0] = 0
    steps = rows.view(np.int8)  # 1: the file has a 0 where 255 was predicted; -1: the other way round
    if filters.max() > PAETH or steps.max() > 1 or steps.min() < -1:
        return None
    differs = np.packbits(rows, axis=1, bitorder="little")
    bits = differs.copy()
    from_left = np.flatnonzero((filters == SUB) | (filters >= AVERAGE))
    bits[from_left] = _running_parity(differs[from_left])
    width, done = bits.shape[1], bits.reshape(-1).data  # in bytes
    from_above = np.flatnonzero(filters >= UP)
    row, last = 0, -1
    for r, kind in zip(from_above.tolist(), filters[from_above].tolist(), strict=True):
        end = (r + 1) * width
        if r != last + 1:
            row = int.from_bytes(done[end - 2 * width : end - width], "little")
        own = int.from_bytes(done[end - width : end], "little")
        row = own ^ row if kind == UP else _paeth(own, row, rows.shape[1])
        done[end - width : end] = row.to_bytes(width, "little")
        last = r
    # A difference's sign says what the pixel is. Any other image would somewhere differ upwards from 255, or downwards
    # from 0: then it was not of 0 and 255.
    if not np.array_equal(bits & differs, np.packbits(steps < 0, axis=1, bitorder="little")):
        return None
    pixels = np.unpackbits(bits, axis=1, count=rows.shape[1], bitorder="little")[:, 1:]
    levels = change(np.array([0, 255], np.uint8))
    low, high = levels.view(np.uint8)[:, None]  # as arrays, which wrap around
    if (low, high) != (0, 1):
        pixels = pixels * (high - low) + low
    return pixels.view(levels.dtype)


def _running_parity(rows: np.ndarray) -> np.ndarray:
    """Each bit of rows (N, bytes) the parity of itself and those below it."""
    rows = PARITY[rows]
    odd = np.bitwise_xor.accumulate(rows >> 7, axis=1)  # 1: up to this byte there is an odd number of bits
    rows[:, 1:] ^= -odd[:, :-1]
    return rows


def _paeth(parity: int, above: int, width: int) -> int:
    """A row of filter PAETH, from the running parity of its differences and the row above it, `width` bits.

    With y = x ^ above, y[i] = d[i] ^ y[i-1], begun anew as y[i] = d[i] at each change of the row above: the running
    parity, turned over from each change on whose parity before it was odd, up to the next change.

        above    0 0 1 1 1 0 0      (lowest bit first)
        changes  0 0 1 0 0 1 0
        parity   0 1 1 0 1 1 1      of the differences 0 1 0 1 1 0 0
        turned   0 0 1 1 1 1 1      both changes come after an odd parity
        y        0 1 0 1 0 0 0      = parity ^ turned
        x        0 1 1 0 1 0 0      = y ^ above
    """
    every = (1 << width) - 1
    changes = (above ^ above << 1) & every
    odd = changes & parity << 1  # changes that come after an odd parity
    # All bits between changes are 1 in `changes ^ every`. Adding to it the bit after an odd change carries through them
    # and sets the next change (or the row's end): less the change itself, that is 1 from the one to before the other.
    ends = ((changes ^ every) + (odd << 1)) & (changes | 1 << width)
    return above ^ parity ^ (ends - odd)
