"""Binary masks with 64 pixels in a word: what makes overlaps and dilations cheap enough to be free."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Bits:
    """A binary mask, packed.

    Attributes:
        words: (H, ceil(W / 64)) uint64, leftmost pixel in the lowest bit; bits past the width are 0.
        width: W, in pixels.
    """

    words: np.ndarray
    width: int

    @classmethod
    def of(cls, mask: np.ndarray) -> "Bits":
        """Pack an (H, W) array; every non-zero pixel is foreground. Raises ValueError unless it is 2-D."""
        if mask.ndim != 2:
            raise ValueError(f"a mask is (H, W), not {mask.shape}")
        height, width = mask.shape
        flags = mask if mask.dtype in (np.bool_, np.uint8) else mask != 0
        padded = np.zeros((height, -(-width // 64) * 8), np.uint8)
        padded[:, : -(-width // 8)] = np.packbits(flags, axis=1, bitorder="little")
        return cls(padded.view("<u8").astype(np.uint64, copy=False), width)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.words.shape[0], self.width

    def without(self, other: "Bits | None") -> "Bits":
        """The mask less another of its size, if there is one. Raises ValueError if the sizes differ."""
        if other is None:
            return self
        if self.shape != other.shape:
            raise ValueError(f"masks of different sizes: {self.shape} and {other.shape}")
        return Bits(self.words & ~other.words, self.width)

    def unpack(self) -> np.ndarray:
        """The mask as an (H, W) bool array."""
        rows = self.words.astype("<u8", copy=False).view(np.uint8)
        return np.unpackbits(rows, axis=1, bitorder="little")[:, : self.width].astype(bool)


def count(words: np.ndarray) -> int:
    """Number of set bits."""
    return int(np.bitwise_count(words).sum(dtype=np.int64))


def overlap(a: Bits, b: Bits) -> tuple[int, int]:
    """Pixels in the intersection and in the union of two masks. Raises ValueError if their sizes differ."""
    if a.shape != b.shape:
        raise ValueError(f"masks of different sizes: {a.shape} and {b.shape}")
    return count(a.words & b.words), count(a.words | b.words)


def cropped(a: Bits, b: Bits) -> tuple[np.ndarray, int]:
    """Two masks of one size without the empty rows and words around both: words (2, h, w), and their width in pixels.

    Where the frame goes on, a row and a word of background stay as a margin. Raises ValueError if the sizes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"masks of different sizes: {a.shape} and {b.shape}")
    either = a.words | b.words
    rows, columns = (
        slice(max(int(marked[0]) - 1, 0), int(marked[-1]) + 2) if marked.size else slice(0, 1)
        for marked in (np.flatnonzero(either.any(axis=axis)) for axis in (1, 0))
    )
    words = np.stack([a.words[rows, columns], b.words[rows, columns]])
    return words, min(64 * words.shape[-1], a.width - 64 * columns.start)
