"""Clip augmentation: one random change for all frames of a clip, their masks and flow vectors.

Crop, size and mirroring are drawn before anything is read, so that frames need not be decoded larger than is wanted.
All else is done by albumentations, on the small clip. Two traps of albumentations 2.0.8 are kept inside this file. Its
transforms hold generators of their own, which every loader worker would inherit alike: here each draws from a
generator made for the clip. And it knows no flow vectors: they are taken through what it says it did.
"""

import math
import os
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from davis_exp.data import flow_geometry
from davis_exp.data.resizing import fitted, spare_halvings
from davis_exp.utils.errors import BadInput

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks a server for news

# What is seen may be that much too small: a JPEG decoded at half its size costs half (640 × 360 gives 320 × 180, which
# is enlarged to 320 × 192 rather than decoded whole).
ENLARGED = 1.1

Region = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of a picture."""

Clip = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Frames (T, H, W, 3) and masks (T, H, W), uint8, and flow vectors (T, 2, H, W), float32, or None."""


class Transforms:
    """Transforms of albumentations, one after the other, each with one draw for the whole clip.

    Args:
        steps: by name. Each draws from the clip's seed and its name alone: adding one leaves the others as they were.

    Raises:
        BadInput: something that is no transform of albumentations.
    """

    def __init__(self, steps: Mapping[str, Any]) -> None:
        import albumentations as A  # it takes seconds: not before it is needed
        from albumentations.core.composition import BaseCompose

        self._steps = {}
        self._unfollowed = []  # names of those that move pixels in ways that vectors cannot follow
        for name, step in steps.items():
            if not isinstance(step, A.BasicTransform | BaseCompose):
                raise BadInput(
                    f"augmentation.transforms.{name}: must be a transform of albumentations, as "
                    f"{{_target_: albumentations.GaussianBlur, p: 0.2}}, got {type(step).__name__}"
                )
            if not _can_follow(step):
                self._unfollowed.append(name)
            self._steps[name] = A.Compose([step], save_applied_params=True)

    def __call__(self, clip: Clip, seed: int) -> Clip:
        """The clip changed as `seed` decides, at the size that it has.

        Raises BadInput for a transform that gives other sizes or types, or that moves pixels in a way that vectors
        cannot be taken through.
        """
        frames, masks, vectors = clip
        if vectors is not None and self._unfollowed:
            raise BadInput(
                f"augmentation.transforms.{self._unfollowed[0]}: flow cannot follow this transform (it can follow "
                "HorizontalFlip, Affine and Rotate, on their own or in Compose, Sequential, OneOf and SomeOf, and all "
                "that leave pixels where they are); set flow=none or leave it out"
            )
        for name, step in self._steps.items():
            own = [seed, zlib.crc32(name.encode())]
            step.set_random_state(np.random.default_rng(own), random.Random(f"{own}"))
            done = step(images=frames, masks=masks)
            if done["images"].shape != frames.shape or done["images"].dtype != np.uint8:
                raise BadInput(
                    f"augmentation.transforms.{name}: gives {done['images'].dtype} of {done['images'].shape[1:3]} for "
                    f"uint8 of {frames.shape[1:3]}; data.size decides the size, encoders normalise: leave it out"
                )
            frames, masks = done["images"], done["masks"]
            if vectors is not None:
                vectors = _follow(vectors, done["applied_transforms"])
        return frames, masks, vectors


def _can_follow(step: Any, *, reported: bool = True) -> bool:
    """Whether vectors can be taken through `step`, a transform or several; `reported` if we are told what it does."""
    import albumentations as A
    from albumentations.core.composition import BaseCompose

    if isinstance(step, BaseCompose):
        # The others, as OneOrOther, do not say which of their transforms they applied.
        reported = reported and isinstance(step, A.Compose | A.Sequential | A.OneOf | A.SomeOf)
        return all(_can_follow(inner, reported=reported) for inner in step.transforms)
    if isinstance(step, A.ImageOnlyTransform | A.CoarseDropout | A.NoOp):
        return True
    return reported and isinstance(step, A.HorizontalFlip | A.Affine | A.Rotate)


def _follow(vectors: np.ndarray, applied: list[tuple[str, dict[str, Any]]]) -> np.ndarray:
    """Vectors through what was applied to their picture."""
    for name, values in applied:
        if name == "HorizontalFlip":
            vectors = flow_geometry.flip(vectors)
        elif "matrix" in values:
            vectors = flow_geometry.transform(vectors, values["matrix"])
    return vectors


@dataclass(frozen=True)
class ClipChange:
    """What is done to one clip.

    Attributes:
        size: (height, width) of what comes out.
        region: of the frame that is seen.
        flip: whether left and right are exchanged.
        transforms: what follows, drawing from `seed`.
    """

    size: tuple[int, int]
    region: Region = flow_geometry.WHOLE
    flip: bool = False
    transforms: Transforms | None = None
    seed: int = 0

    def halvings(self, size: tuple[int, int]) -> int:
        """How often frames of `size` may be halved before they are given: what is seen stays large enough, or nearly."""
        left, top, right, bottom = _pixels(self.region, size)
        return spare_halvings((bottom - top, right - left), self.size, ENLARGED)

    def __call__(
        self, frames: Sequence[np.ndarray], masks: Sequence[np.ndarray], vectors: np.ndarray | None = None
    ) -> Clip:
        """The clip changed, at `size`.

        Args:
            frames, masks: T of (H, W, 3) and of (H', W'), uint8; frames may be smaller, see `halvings`.
            vectors: flow, (T, 2, h, w) in pixels of its own grid; it is turned, mirrored and stretched likewise.
        """
        height, width = frames[0].shape[:2]
        left, top, right, bottom = _pixels(self.region, (height, width))
        # What frames show, their pixels being whole, is what the others show.
        region = left / width, top / height, right / width, bottom / height
        images = np.empty((len(frames), *self.size, 3), np.uint8)
        for frame, image in zip(frames, images, strict=True):
            self._place(frame, region, image, smooth=True)
        labels = np.empty((len(masks), *self.size), np.uint8)
        for mask, label in zip(masks, labels, strict=True):
            self._place(mask, region, label, smooth=False)
        if vectors is not None:
            vectors = flow_geometry.resample(vectors, self.size, region)
            vectors = flow_geometry.flip(vectors) if self.flip else vectors
        clip = images, labels, vectors
        return self.transforms(clip, self.seed) if self.transforms is not None else clip

    def _place(self, picture: np.ndarray, region: Region, out: np.ndarray, *, smooth: bool) -> None:
        left, top, right, bottom = _pixels(region, picture.shape[:2])
        placed = fitted(picture[top:bottom, left:right], self.size, smooth=smooth)
        out[...] = cv2.flip(placed, 1) if self.flip else placed


class ClipAugmentation:
    """Bring clips to `size`, with random changes. With every argument but `size` left out it only resizes.

    Args:
        size: (height, width) of what comes out.
        flip: probability of a horizontal flip.
        scale: smallest and largest area of a random crop, as fractions of the frame; None takes all of it.
        ratio: smallest and largest aspect of that crop, relative to `size`'s own.
        transforms: of albumentations, by name, in their order; they run on clips of `size`.

    Raises:
        BadInput: a value out of its range, named by its config key.
    """

    def __init__(
        self,
        size: Sequence[int],
        *,
        flip: float = 0.0,
        scale: Sequence[float] | None = None,
        ratio: Sequence[float] = (1.0, 1.0),
        transforms: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 <= flip <= 1:
            raise BadInput(f"augmentation.flip must lie in 0 to 1, got {flip}")
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise BadInput(f"augmentation.scale must be [smallest, largest] in 0 to 1 or null, got {scale}")
        if not (len(ratio) == 2 and 0 < ratio[0] <= ratio[1]):
            raise BadInput(f"augmentation.ratio must be [smallest, largest] above 0, got {ratio}")
        self.size = (int(size[0]), int(size[1]))
        self.flip, self.scale, self.ratio = flip, scale, ratio
        self.transforms = Transforms(transforms) if transforms else None

    @property
    def finest(self) -> tuple[int, int]:
        """(height, width) of frames from which not even the smallest square-ish crop need be enlarged."""
        enlarged = 1 / math.sqrt(self.scale[0] if self.scale else 1.0)
        return math.ceil(self.size[0] * enlarged), math.ceil(self.size[1] * enlarged)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> ClipChange:
        """A change for a clip whose frames are of `size` (height, width); nothing but `rng` is random in it.

        It always takes the same numbers from `rng`: whether one thing changes does not move the others.
        """
        area, aspect, x, y, flip = rng.random(5)
        seed = int(rng.integers(2**63))
        region = flow_geometry.WHOLE if self.scale is None else self._crop(size, area, aspect, x, y)
        return ClipChange(
            self.size, region, flip=bool(flip < self.flip), transforms=self.transforms, seed=seed
        )

    def __call__(
        self,
        frames: np.ndarray,
        masks: np.ndarray,
        rng: np.random.Generator,
        vectors: np.ndarray | None = None,
    ) -> Clip:
        """Draw a change and make it: frames (T, H, W, 3), masks (T, H, W), and vectors as `ClipChange` takes them."""
        return self.draw(frames.shape[1:3], rng)(list(frames), list(masks), vectors)

    def _crop(self, size: tuple[int, int], area: float, aspect: float, x: float, y: float) -> Region:
        assert self.scale is not None
        shape = (
            self.size[1]
            / self.size[0]
            * math.exp(_between(math.log(self.ratio[0]), math.log(self.ratio[1]), aspect))
        )
        relative = shape / (size[1] / size[0])  # 1: as the frame
        covered = _between(self.scale[0], self.scale[1], area)
        width, height = math.sqrt(covered * relative), math.sqrt(covered / relative)
        most = max(width, height, 1.0)  # a crop that sticks out becomes smaller, not another shape
        width, height = width / most, height / most
        left, top = x * (1 - width), y * (1 - height)
        return left, top, left + width, top + height


def _pixels(region: Region, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The region in whole pixels of a picture of `size`, at least one."""
    height, width = size
    left, top = min(round(region[0] * width), width - 1), min(round(region[1] * height), height - 1)
    return left, top, max(round(region[2] * width), left + 1), max(round(region[3] * height), top + 1)


def _between(low: float, high: float, share: float) -> float:
    return float(low + (high - low) * share)
