"""What values a picture holds: greys of any depth, palettes, alpha, and whether they are a few levels or shades."""

import cv2
import numpy as np
from PIL import Image

NOISE = 16  # levels as near as this to black or to the brightest are what re-encoding makes of those
SCALES = (1, 255, 65535)
BLOCK = 2**20  # pixels


def alpha_of(image: Image.Image) -> np.ndarray | None:
    """How much each pixel covers, (H, W) uint8; None where all cover alike, and anything at all."""
    alpha = np.asarray(image.getchannel("A")) if "A" in image.getbands() else None
    return None if alpha is None or (alpha.min() == alpha.max() > 0) else alpha


def grey_values(image: Image.Image) -> np.ndarray | None:
    """What a picture without colours holds, (H, W): bits, 8, 16 or 32 bits as they are; None for one in colour."""
    if image.mode == "LA":
        image = image.getchannel("L")
    if image.mode == "1" or image.mode.partition(";")[0] in ("L", "I", "F"):
        return np.asarray(image)
    picture = np.asarray(image.convert("RGB"))
    grey = picture[..., 0]
    return grey if all(np.array_equal(grey, picture[..., channel]) for channel in (1, 2)) else None


def foreground(grey: np.ndarray) -> np.ndarray:
    """Where a grey mask of any shape is foreground, as the judge rounds it: from the middle of its scale on.

    The scale is the smallest of 1, 255 and 65535 that holds the largest value: 128 of 255 is foreground, 127
    is not, and a mask of zeros and ones counts as one.
    """
    highest = grey.max(initial=0)
    scale = next((scale for scale in SCALES if highest <= scale), highest)
    # a fraction would have 8-bit values compared as 64-bit ones
    inside: np.ndarray = grey > (scale // 2 if grey.dtype.kind in "bu" else scale / 2)
    return inside


def palette_of(image: Image.Image) -> np.ndarray:
    """(256, 3) uint8; black where the file has no colour."""
    stored = np.frombuffer(bytes(image.getpalette("RGB") or ()), np.uint8)[: 3 * 256]
    return np.pad(stored, (0, 3 * 256 - len(stored))).reshape(256, 3)


def levels_of(values: np.ndarray) -> np.ndarray:
    """The values there are beside 0, in order."""
    levels = np.empty(0, values.dtype)
    flat = values.reshape(-1)
    for start in range(0, flat.size, BLOCK):  # what is sorted of a large picture at a time
        levels = np.union1d(levels, flat[start : start + BLOCK])
    return levels[levels != 0]


def apart(levels: np.ndarray) -> bool:
    """Whether there are levels other than near black and near the brightest."""
    return bool(((levels > NOISE) & (levels < levels[-1] - NOISE)).any()) or bool(levels[-1] < 128)


def fills(values: np.ndarray, levels: np.ndarray) -> bool:
    """Whether a level below the brightest fills some area: what lines an edge is a shade of what lies beside it."""
    block = np.ones((3, 3), np.uint8)
    areas = (cv2.erode((values == level).view(np.uint8), block, borderValue=0) for level in levels[:-1])
    return any(area.any() for area in areas)


def one_hue(codes: np.ndarray) -> bool:
    """Whether colours other than black, as whole numbers, are all shades of one."""
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1).astype(np.float64)
    strength = colours.max(axis=1)
    full = colours[strength.argmax()] / strength.max()
    return bool((np.abs(colours - strength[:, None] * full) <= 2).all())


def voc_colour(number: int) -> int:
    """The colour that Pascal VOC's palette, which DAVIS uses, has for a number."""
    red = green = blue = 0
    for bit in range(8):
        red |= (number & 1) << 7 - bit
        green |= (number >> 1 & 1) << 7 - bit
        blue |= (number >> 2 & 1) << 7 - bit
        number >>= 3
    return red << 16 | green << 8 | blue
