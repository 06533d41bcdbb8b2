"""Pictures made smaller: as cheap as they can be without pixels that are never looked at."""

import cv2
import numpy as np


def spare_halvings(size: tuple[int, int], wanted: tuple[int, int], enlarged: float = 1.0) -> int:
    """How often a picture of `size` (height, width) may be halved and still fill `wanted`, `enlarged` at the most."""
    halvings = 0
    while min(size[0] / wanted[0], size[1] / wanted[1]) * enlarged >= 2 ** (halvings + 1):
        halvings += 1
    return halvings


def halved(picture: np.ndarray, halvings: int) -> np.ndarray:
    """(H, W, …) uint8 with both sides halved so often, upwards; each pixel is the mean of four."""
    for _ in range(halvings):
        height, width = picture.shape[:2]
        half = (width + 1) // 2, (height + 1) // 2
        picture = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
    return picture


def fitted(picture: np.ndarray, size: tuple[int, int], *, smooth: bool = True) -> np.ndarray:
    """(H, W, …) uint8 at `size` (height, width): by area down to less than twice that, then linearly.

    Linear interpolation looks at all pixels as long as it takes less than every second; it is three times as fast as
    averaging by area. Where not `smooth`, as masks are, the nearest pixel is taken.
    """
    if picture.shape[:2] == size:
        return picture
    if not smooth:
        return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    picture = halved(picture, spare_halvings(picture.shape[:2], size))
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
