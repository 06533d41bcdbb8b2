"""Clip augmentation: one random change for all frames of a clip, their masks and flow vectors.

A change is drawn before anything is read, so that frames need not be decoded larger than it wants them. Its colours
are one matrix, so that each pixel is touched once.
"""

import math
from collections.abc import Sequence as Listing
from dataclasses import dataclass

import cv2
import numpy as np

from davis_exp.data import vectors as geometry
from davis_exp.data.resizing import fitted, spare_halvings
from davis_exp.errors import BadInput

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# To Y (brightness), I and Q (colour), where a turn about the axis of greys is a turn of I and Q.
YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])

Region = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of a picture."""


@dataclass(frozen=True)
class ClipChange:
    """What is done to one clip.

    Attributes:
        size: (height, width) of what comes out.
        region: of the frame that is seen.
        flip: whether left and right are exchanged.
        turn: rotation about the middle, in degrees against the clock.
        colours: (3, 3), RGB to RGB; None leaves colours and contrast alone.
        contrast: factor of all differences from the clip's mean grey.
        blur: sigma of a Gaussian, in pixels; 0 for none.
    """

    size: tuple[int, int]
    region: Region = geometry.WHOLE
    flip: bool = False
    turn: float = 0.0
    colours: np.ndarray | None = None
    contrast: float = 1.0
    blur: float = 0.0

    def halvings(self, size: tuple[int, int]) -> int:
        """How often frames of `size` may be halved before they are given: what is seen stays large enough."""
        left, top, right, bottom = _pixels(self.region, size)
        return spare_halvings((bottom - top, right - left), self.size)

    def __call__(
        self, frames: Listing[np.ndarray], masks: Listing[np.ndarray], vectors: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
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
            vectors = self._place_vectors(vectors, region)
        return self._coloured(images), labels, vectors

    @property
    def _rotation(self) -> np.ndarray:
        height, width = self.size
        return cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), self.turn, 1.0)

    def _place(self, picture: np.ndarray, region: Region, out: np.ndarray, *, smooth: bool) -> None:
        left, top, right, bottom = _pixels(region, picture.shape[:2])
        placed = fitted(picture[top:bottom, left:right], self.size, smooth=smooth)
        if self.flip:
            placed = cv2.flip(placed, 1)
        if self.turn:
            how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
            border = cv2.BORDER_REFLECT_101
            placed = cv2.warpAffine(placed, self._rotation, self.size[::-1], flags=how, borderMode=border)
        if self.blur and smooth:
            placed = cv2.GaussianBlur(placed, (0, 0), self.blur)
        out[...] = placed

    def _place_vectors(self, vectors: np.ndarray, region: Region) -> np.ndarray:
        vectors = geometry.resample(vectors, self.size, region)
        if self.flip:
            vectors = geometry.flip(vectors)
        return geometry.transform(vectors, self._rotation) if self.turn else vectors

    def _coloured(self, images: np.ndarray) -> np.ndarray:
        if self.colours is None:
            return images
        column = images.reshape(-1, *images.shape[2:])  # all frames one below the other
        grey = LUMA @ self.colours @ cv2.mean(column)[:3]
        matrix = np.column_stack([self.contrast * self.colours, np.full(3, (1 - self.contrast) * grey)])
        return cv2.transform(column, matrix).reshape(images.shape)


class ClipAugmentation:
    """Bring clips to `size`, with random changes. With every argument but `size` left out it only resizes.

    Args:
        size: (height, width) of what comes out.
        flip: probability of a horizontal flip.
        scale: smallest and largest area of a random crop, as fractions of the frame; None takes all of it.
        ratio: smallest and largest aspect of that crop, relative to `size`'s own.
        rotate: largest rotation in degrees, which half of the clips have; what comes in at the corners is a
            reflection.
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
        self.size = (int(size[0]), int(size[1]))
        self.flip, self.scale, self.ratio, self.rotate = flip, scale, ratio, rotate
        self.colour, self.grey, self.blur = colour, grey, blur

    @property
    def finest(self) -> tuple[int, int]:
        """(height, width) of frames from which not even the smallest square-ish crop need be enlarged."""
        enlarged = 1 / math.sqrt(self.scale[0] if self.scale else 1.0)
        return math.ceil(self.size[0] * enlarged), math.ceil(self.size[1] * enlarged)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> ClipChange:
        """A change for a clip whose frames are of `size` (height, width); nothing but `rng` is random in it.

        It always takes the same numbers from `rng`: whether one thing changes does not move the others.
        """
        area, aspect, x, y, flip, turns, turn, *rest = rng.random(16)
        jittered, brightness, saturation, hue, contrast, grey, blurred, blur, _ = rest
        region = geometry.WHOLE
        if self.scale is not None:
            region = self._crop(size, area, aspect, x, y)
        colours, sharper = None, 1.0
        if self.colour and jittered < 0.8:
            strength = 0.5 * self.colour
            bright, saturated, sharper = (
                _between(1 - strength, 1 + strength, u) for u in (brightness, saturation, contrast)
            )
            about = _between(-0.2, 0.2, hue) * self.colour  # of a whole turn
            colours = bright * _turned(about) @ _saturated(saturated)
        if grey < self.grey:
            colours = _saturated(0.0) if colours is None else _saturated(0.0) @ colours
        return ClipChange(
            self.size,
            region,
            flip=bool(flip < self.flip),
            turn=_between(-self.rotate, self.rotate, turn) if turns < 0.5 else 0.0,
            colours=colours,
            contrast=sharper,
            blur=_between(0.3, 1.5, blur) if blurred < self.blur else 0.0,
        )

    def __call__(
        self,
        frames: np.ndarray,
        masks: np.ndarray,
        rng: np.random.Generator,
        vectors: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
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


def _saturated(factor: float) -> np.ndarray:
    """Colours away from the grey of equal brightness, (3, 3)."""
    return factor * np.eye(3) + (1 - factor) * np.tile(LUMA, (3, 1))


def _turned(turn: float) -> np.ndarray:
    """Hues moved on by `turn` of the whole circle, at equal brightness, (3, 3)."""
    c, s = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    return np.linalg.inv(YIQ) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ YIQ
