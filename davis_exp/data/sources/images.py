"""Still images with masks, made to move: clips to learn objects from where videos are few."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np

from davis_exp.data.frames import FRAME_SUFFIXES
from davis_exp.data.masks import MASKS, MaskReader
from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.data.sources.files import FileSequence
from davis_exp.utils.errors import BadInput
from davis_exp.utils.names import hidden, natural


@dataclass(frozen=True)
class Motion:
    """How far a picture may move from one frame to the next.

    Attributes:
        scale: smallest and largest factor, drawn for each axis.
        shift: largest, as a fraction of each side.
        rotate: largest, in degrees.
        shear: largest, as a slope.
    """

    scale: tuple[float, float]
    shift: float
    rotate: float
    shear: float

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """A random step about the middle of a picture of `size`: (3, 3), this frame's pixels to the next's."""
        height, width = size
        angle = math.radians(rng.uniform(-self.rotate, self.rotate))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        slope = np.array([[1.0, rng.uniform(-self.shear, self.shear)], [0.0, 1.0]])
        step = np.eye(3)
        step[:2, :2] = turn @ slope @ np.diag(rng.uniform(*self.scale, 2))
        middle = np.array([width - 1, height - 1]) / 2
        moved = middle + rng.uniform(-self.shift, self.shift, 2) * (width, height)
        step[:2, 2] = moved - step[:2, :2] @ middle
        return step


class ImageSource(Source):
    """A folder of images and a folder of masks of the same names, as saliency data sets have.

    Each becomes a clip: the image as it is, then each frame moved on from the one before by a random affine
    step, as 3DC-Seg was trained on COCO (Mahadevan et al., "Making a Case for 3D Convolutions for Object
    Segmentation in Videos", BMVC 2020). What comes in at the border repeats its edge. Training draws other
    motion for each clip. Both stages are the same images: held-out ones are for testing.

    Args:
        root: the folder that holds the two.
        images, masks: their names.
        length: frames per clip.
        scale, shift, rotate, shear: the limits of a step; see Motion.
        seed: another seed, other motion.
        mask_values, void: how masks are read: `masks` and `void` of `MaskReader`.

    Raises:
        BadInput: a value out of its range, named by its config key.
        ValueError: as `MaskReader`.
    """

    def __init__(
        self,
        root: str | Path,
        images: str = "images",
        masks: str = "masks",
        length: int = 8,
        scale: Sequence[float] = (0.7, 1.3),
        shift: float = 0.1,
        rotate: float = 15.0,
        shear: float = 0.05,
        seed: int = 0,
        mask_values: str = "auto",
        void: int | None = 255,
    ) -> None:
        if mask_values not in MASKS:
            raise ValueError(f"mask_values must be one of {', '.join(MASKS)}, got {mask_values!r}")
        self.reader = MaskReader(mask_values, void)
        if length < 1 or seed < 0:
            raise BadInput(f"data.length must be at least 1 and data.seed 0, got {length} and {seed}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise BadInput(f"data.scale must be [smallest, largest] above 0, got {scale}")
        for name, value, most in (("shift", shift, 1), ("rotate", rotate, 180), ("shear", shear, 1)):
            if not 0 <= value <= most:
                raise BadInput(f"data.{name} must lie in 0 to {most}, got {value}")
        self.root = Path(root).expanduser()
        self.folders = {"images": self.root / images, "masks": self.root / masks}
        self.length, self.seed = length, seed
        self.motion = Motion((scale[0], scale[1]), shift, rotate, shear)

    def sequences(self, stage: str) -> list[VideoSequence]:
        """A sequence per image, in order of name. Raises BadInput naming what is missing where."""
        if stage not in ("train", "test"):
            raise BadInput(f"a data set has the stages train and test, not {stage!r}")
        images, masks = (_by_stem(folder) for folder in self.folders.values())
        if not images:
            raise BadInput(
                f"no images in {self.folders['images']}: set data.root to the folder that holds "
                f"{self.folders['images'].name}/ and {self.folders['masks'].name}/"
            )
        missing = sorted(images.keys() - masks.keys(), key=natural)
        if missing:
            raise BadInput(
                f"image {images[missing[0]]} has no mask {self.folders['masks'] / missing[0]}.png "
                f"({len(missing)} of {len(images)} have none): restore it, or remove the image"
            )
        return [
            StillSequence(
                FileSequence(
                    stem, str(images[stem].resolve()), [images[stem]], [masks[stem]], number, self.reader
                ),
                self.length,
                self.motion,
                number,
                (self.seed, number),
            )
            for number, stem in enumerate(sorted(images, key=natural))
        ]


class StillSequence(VideoSequence):
    """One picture in random motion; frames are made when asked for.

    Args:
        picture: a sequence of one frame, with its mask.
        length: how many frames.
        motion: how it may move.
        number: its place in the data set.
        seed: decides how it moves.
    """

    still = True
    labelled = True

    def __init__(
        self, picture: VideoSequence, length: int, motion: Motion, number: int, seed: tuple[int, ...]
    ) -> None:
        self.picture, self.motion, self.number, self.seed = picture, motion, number, seed
        self.name = picture.name
        self.index = tuple(range(number * length, (number + 1) * length))
        self.frame_ids = tuple(f"{self.name}/{i:05d}" for i in range(length))

    @property
    def key(self) -> str:
        return self.picture.key

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.size

    def frame(self, i: int) -> np.ndarray:
        return self._moved(_read(self.picture)[0], i, cv2.INTER_LINEAR)

    def mask(self, i: int) -> np.ndarray:
        return self._moved(_read(self.picture)[1], i, cv2.INTER_NEAREST)

    def files(self) -> Iterator[Path]:
        return self.picture.files()

    def variant(self, seed: tuple[int, ...]) -> "StillSequence":
        return StillSequence(self.picture, len(self), self.motion, self.number, (*self.seed, *seed))

    def over(self, change: Callable[[VideoSequence], VideoSequence]) -> "StillSequence":
        moved = StillSequence(change(self.picture), len(self), self.motion, self.number, self.seed)
        moved.index = self.index
        return moved

    @cached_property
    def places(self) -> list[np.ndarray]:
        """Where the picture lies in each frame: (3, 3) matrices, its pixels to the frame's."""
        rng = np.random.default_rng(self.seed)
        places = [np.eye(3)]
        for _ in range(len(self) - 1):
            places.append(self.motion.draw(rng, self.size) @ places[-1])
        return places

    def _moved(self, picture: np.ndarray, i: int, interpolation: int) -> np.ndarray:
        # From the picture itself, not from the frame before: it stays sharp.
        height, width = picture.shape[:2]
        return cv2.warpAffine(
            picture, self.places[i][:2], (width, height), flags=interpolation, borderMode=cv2.BORDER_REPLICATE
        )


@lru_cache(maxsize=4)  # a clip asks for all frames, then all masks, of one picture
def _read(picture: VideoSequence) -> tuple[np.ndarray, np.ndarray]:
    return picture.frame(0), picture.mask(0)


def _by_stem(folder: Path) -> dict[str, Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else ()
    return {
        path.stem: path for path in found if path.suffix.lower() in FRAME_SUFFIXES and not hidden(path.name)
    }
