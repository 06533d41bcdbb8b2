"""Flow vectors through geometry: where the picture goes, each vector goes, and is itself changed.

Vectors are (…, 2, h, w) float32, x before y, in pixels of their own grid, which covers the whole frame at any
resolution.
"""

import cv2
import numpy as np
import torch

from davis_exp.models.flow.colours import flow_to_image

WHOLE = (0.0, 0.0, 1.0, 1.0)


def resample(
    vectors: np.ndarray, size: tuple[int, int], region: tuple[float, float, float, float] = WHOLE
) -> np.ndarray:
    """The vectors of `region`, as fractions (left, top, right, bottom), brought to `size` (height, width)."""
    h, w = vectors.shape[-2:]
    left, top, right, bottom = region
    if region == WHOLE and size == (h, w):
        return vectors
    step_x, step_y = (right - left) * w / size[1], (bottom - top) * h / size[0]  # on the old grid
    # Pixels are squares: the middle of the first is half a step from the edge.
    to_old = np.array(
        [[step_x, 0, left * w + step_x / 2 - 0.5], [0, step_y, top * h + step_y / 2 - 0.5]], np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = _warp(vectors, to_old, size, flags, cv2.BORDER_REPLICATE)
    return warped / np.array([step_x, step_y], np.float32)[:, None, None]


def flip(vectors: np.ndarray) -> np.ndarray:
    """The vectors of a picture flipped left to right."""
    return vectors[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None]


def transform(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The vectors of a picture moved by the affine `matrix` (at least (2, 3), old pixels to new).

    What comes in from outside is a reflection, as in the picture; its vectors are left unreflected.
    """
    warped = _warp(vectors, matrix[:2], vectors.shape[-2:], cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    return np.einsum("ij,...jhw->...ihw", matrix[:2, :2].astype(np.float32), warped)


def picture(vectors: np.ndarray) -> np.ndarray:
    """Vectors (…, 2, H, W) in colours: (…, 3, H, W) uint8."""
    return (flow_to_image(torch.from_numpy(np.ascontiguousarray(vectors))) * 255).round().byte().numpy()


def _warp(
    vectors: np.ndarray, matrix: np.ndarray, size: tuple[int, ...], flags: int, border: int
) -> np.ndarray:
    planes = vectors.reshape(-1, *vectors.shape[-2:])
    warped = [cv2.warpAffine(p, matrix, size[::-1], flags=flags, borderMode=border) for p in planes]
    return np.stack(warped).reshape(*vectors.shape[:-2], *size)
