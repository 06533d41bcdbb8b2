"""Clip augmentation by albumentations: one draw for all frames of a clip, their masks and flow vectors.

Two traps of albumentations 2.0.8 are kept inside this file. Its transforms hold generators of their own,
which every loader worker would inherit alike; and `set_random_seed` gives each transform the *same* seed, so
that a flip and a blur of equal probability would always come together. Here all draw from the one generator
of the item. It knows no flow vectors either: they are taken through what it says it did.
"""

import os
import random
from collections.abc import Sequence as Listing
from typing import Any

import numpy as np

from davis_exp.data import vectors as geometry
from davis_exp.errors import BadInput


class ClipAugmentation:
    """Bring clips to `size`, with random changes. With every argument but `size` left out it only resizes.

    Args:
        size: (height, width) of what comes out.
        flip: probability of a horizontal flip.
        scale: smallest and largest area of a random crop, as fractions of the frame; None takes all of it.
        ratio: smallest and largest aspect of that crop, relative to `size`'s own.
        rotate: largest rotation in degrees; what comes in at the corners is a reflection.
        colour: strength of brightness, contrast, saturation and hue changes, 0–1; four clips of five have
            them.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur.

    Raises:
        BadInput: a value out of its range, named by its config key.
    """

    def __init__(
        self,
        size: Listing[int],
        *,
        flip: float = 0.0,
        scale: Listing[float] | None = None,
        ratio: Listing[float] = (1.0, 1.0),
        rotate: float = 0.0,
        colour: float = 0.0,
        grey: float = 0.0,
        blur: float = 0.0,
    ) -> None:
        for name, value in (("flip", flip), ("colour", colour), ("grey", grey), ("blur", blur)):
            if not 0 <= value <= 1:
                raise BadInput(f"augmentation.{name} must lie in 0 to 1, got {value}")
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise BadInput(f"augmentation.scale must be [smallest, largest] in 0 to 1 or null, got {scale}")
        if not (len(ratio) == 2 and 0 < ratio[0] <= ratio[1]):
            raise BadInput(f"augmentation.ratio must be [smallest, largest] above 0, got {ratio}")
        if not 0 <= rotate <= 180:
            raise BadInput(f"augmentation.rotate must be 0 to 180 degrees, got {rotate}")

        # The import asks a server for news unless told not to, and takes seconds: not before it is needed.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A
        import cv2

        height, width = self.size = (int(size[0]), int(size[1]))
        steps: list[Any]
        if scale is None:
            steps = [A.Resize(height, width, area_for_downscale="image")]
        else:
            aspect = width / height
            steps = [
                A.RandomResizedCrop(
                    (height, width),
                    scale=(scale[0], scale[1]),
                    ratio=(aspect * ratio[0], aspect * ratio[1]),
                    area_for_downscale="image",
                )
            ]
        # What follows runs on the small clip.
        if flip:
            steps.append(A.HorizontalFlip(p=flip))
        if rotate:
            steps.append(A.Rotate((-rotate, rotate), border_mode=cv2.BORDER_REFLECT_101, p=0.5))
        if colour:
            change = (1 - 0.5 * colour, 1 + 0.5 * colour)
            steps.append(A.ColorJitter(change, change, change, (-0.2 * colour, 0.2 * colour), p=0.8))
        if grey:
            steps.append(A.ToGray(p=grey))
        if blur:
            steps.append(A.GaussianBlur(sigma_limit=(0.3, 1.5), p=blur))
        self._steps = A.Compose(steps, save_applied_params=True)

    def __call__(
        self,
        frames: np.ndarray,
        masks: np.ndarray,
        rng: np.random.Generator,
        vectors: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Augment a clip as `rng` decides.

        Args:
            frames, masks: (T, H, W, 3) and (T, H, W) uint8.
            rng: nothing else is random.
            vectors: flow, (T, 2, h, w) in pixels of its own grid.

        Returns:
            The three at `size`; vectors are turned, mirrored and stretched with the picture.
        """
        self._steps.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        done = self._steps(images=frames, masks=masks)
        if vectors is not None:
            vectors = _follow(vectors, done["applied_transforms"], self.size)
        return done["images"], done["masks"], vectors


def _follow(
    vectors: np.ndarray, applied: list[tuple[str, dict[str, Any]]], size: tuple[int, int]
) -> np.ndarray:
    """Vectors through the geometric ones of the steps applied; the first of them brings clips to `size`."""
    for name, values in applied:
        if name == "Resize":
            vectors = geometry.resample(vectors, size)
        elif name == "RandomResizedCrop":
            height, width = values["shape"][:2]
            left, top, right, bottom = values["crop_coords"]
            region = left / width, top / height, right / width, bottom / height
            vectors = geometry.resample(vectors, size, region)
        elif name == "HorizontalFlip":
            vectors = geometry.flip(vectors)
        elif name == "Rotate":
            vectors = geometry.transform(vectors, values["matrix"])
    return vectors
