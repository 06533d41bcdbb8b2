"""Cut-outs of stills before a still crowd: what looks like the object rests in the scene, so that only motion tells."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np

from davis_exp.data import cache
from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.data.sources.images import ImageSource, StillSequence
from davis_exp.utils.errors import BadInput

FORMAT = 1  # of what is rendered; another number makes what was computed from it unknown
STAGES = ("train", "test")
ROOM = 1.5  # a scene's size in frames: how far the camera sees before it meets a reflection
PERIOD = 40  # frames in which the camera and the object go to and fro


@dataclass(frozen=True)
class Settings:
    """What a clip depends on beside its pictures, stage and number. Sizes in pixels."""

    length: int
    height: int
    width: int
    distractors: int
    seed: int


class CrowdSource(Source):
    """Generated clips: one cut-out moves on its own, others rest in a photograph that the camera moves over.

    The scene is a photograph with its own object still in it, before which other pictures' objects are pasted; they
    are drawn, sized and cut out as the object is, some stand before it, and all move with the camera, the nearer the
    faster. The mask is the moving one's alone. Pasting as in Dwibedi et al., "Cut, Paste and Learn", ICCV 2017.

    Args:
        root: the folder that holds the two, as of `ImageSource`.
        images, masks: their names.
        scenes: another such folder, for the photographs behind; None for the same pictures.
        clips: of the train stage; the test stage, with other scenes of the same pictures, has an eighth.
        length: frames of a clip.
        height, width: of a frame, in pixels.
        distractors: pasted at most.
        seed: another seed, other clips.
        mask_values, void: as of `ImageSource`.

    Raises:
        BadInput: a value out of its range, named by its config key.
    """

    def __init__(
        self,
        root: str | Path,
        images: str = "images",
        masks: str = "masks",
        scenes: str | Path | None = None,
        clips: int = 1000,
        length: int = 2,
        height: int = 240,
        width: int = 432,
        distractors: int = 3,
        seed: int = 0,
        mask_values: str = "auto",
        void: int | None = 255,
    ) -> None:
        for name, value, least, most in (
            ("clips", clips, 1, 100_000),
            ("length", length, 1, 10_000),
            ("height", height, 32, 4096),
            ("width", width, 32, 4096),
            ("distractors", distractors, 0, 16),
            ("seed", seed, 0, 2**32),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise BadInput(
                    f"data.{name} must be a whole number of at least {least} and at most {most:,}, got {value!r}"
                )
        self.stills, self.scenes = (
            ImageSource(folder, images, masks, length=1, mask_values=mask_values, void=void)
            for folder in (root, root if scenes is None else scenes)
        )
        self.counts = dict(zip(STAGES, (clips, math.ceil(clips / 8)), strict=True))
        self.settings = Settings(length, height, width, distractors, seed)

    def sequences(self, stage: str) -> list[VideoSequence]:
        """The clips of `stage`, named "train-00000", … Raises BadInput naming what is missing where."""
        pictures, scenes = (
            [still.picture for still in source.sequences(stage) if isinstance(still, StillSequence)]
            for source in (self.stills, self.scenes)
        )
        return [
            CrowdSequence(self.settings, stage, number, pictures, scenes)
            for number in range(self.counts[stage])
        ]


class CrowdSequence(VideoSequence):
    """One generated clip; frames are rendered when asked for.

    Args:
        settings: see Settings.
        stage, number: which clip.
        pictures, scenes: to draw the object and the distractors from, and what is behind; the first frame of each.
    """

    labelled = True

    def __init__(
        self,
        settings: Settings,
        stage: str,
        number: int,
        pictures: list[VideoSequence],
        scenes: list[VideoSequence],
    ) -> None:
        self.settings, self.stage, self.number = settings, stage, number
        self.name = f"{stage}-{number:05d}"
        self.index = tuple(range(number * settings.length, (number + 1) * settings.length))
        self.frame_ids = tuple(f"{self.name}/{i:05d}" for i in range(settings.length))
        rng = self._rng(0)
        wanted = min(1 + int(rng.integers(settings.distractors + 1)), len(pictures))
        self.behind = scenes[int(rng.integers(len(scenes)))]
        self.pictures = [pictures[k] for k in rng.choice(len(pictures), wanted, replace=False)]

    @cached_property
    def key(self) -> str:
        found = [(cache.identity(p, 0), cache.mask_identity(p, 0)) for p in (self.behind, *self.pictures)]
        return f"crowd:{FORMAT}:{self.settings}/{self.name}/{cache.key(found)}"

    @property
    def identity(self) -> str:
        return f"crowd:{self.settings}/{self.name}"

    def files(self) -> Iterator[Path]:
        for picture in (self.behind, *self.pictures):
            yield from picture.files()

    @property
    def size(self) -> tuple[int, int]:
        return self.settings.height, self.settings.width

    def frame(self, i: int) -> np.ndarray:
        return _render(self, range(len(self))[i])[0].copy()

    def mask(self, i: int) -> np.ndarray:
        return _render(self, range(len(self))[i])[1].copy()

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, STAGES.index(self.stage), self.number, purpose])


@dataclass(frozen=True)
class _Camera:
    """Its motion at full speed, a frame: shift in pixels, roll in radians, logarithm of the zoom."""

    shift: np.ndarray
    roll: float
    zoom: float

    def at(self, time: float, depth: float = 1.0) -> np.ndarray:
        """Scene coordinates, from the frame's middle, to the same of frame `time`; the nearer shift `depth` times."""
        way = _way(time)
        return _place(depth * self.shift * way, self.roll * way, math.exp(self.zoom * way))


@dataclass(frozen=True)
class _Thing:
    """A cut-out: its colours (h, w, 3) and cover (h, w) in [0, 1], float32, where it is, and how it moves."""

    colours: np.ndarray
    cover: np.ndarray
    home: np.ndarray
    depth: float = 1.0
    own: np.ndarray | None = None  # the object's pixels a frame, at full speed
    spin: float = 0.0

    def at(self, time: float, camera: _Camera) -> np.ndarray:
        """Its pixels to those from the frame's middle."""
        middle = _place(-np.array(self.cover.shape[::-1]) / 2)
        if self.own is None:
            return camera.at(time, self.depth) @ _place(self.home) @ middle
        return camera.at(time) @ _place(self.home + self.own * _way(time), self.spin * _way(time)) @ middle


@dataclass(frozen=True)
class _Scene:
    background: np.ndarray  # (h, w, 3) float32
    camera: _Camera
    things: list[_Thing]  # back to front


@lru_cache(maxsize=4)
def _scene(clip: CrowdSequence) -> _Scene:
    rng, settings = clip._rng(1), clip.settings
    size = np.array([settings.width, settings.height], np.float64)
    longer = size.max()
    camera = _Camera(
        rng.uniform(-0.02, 0.02, 2) * longer, float(rng.uniform(-0.01, 0.01)), rng.uniform(-0.01, 0.01)
    )
    photograph = clip.behind.frame(0)
    scale = ROOM * max(settings.height / photograph.shape[0], settings.width / photograph.shape[1])
    background = cv2.resize(photograph, None, fx=scale, fy=scale).astype(np.float32)
    things = []
    for number, picture in enumerate(clip.pictures):
        found = _cut(picture, size * rng.uniform(0.25, 0.95))
        home = rng.uniform(-0.4, 0.4, 2) * size
        heading, pace = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.04) * longer
        spin, depth = rng.uniform(-0.02, 0.02), rng.uniform(1, 1.3)
        if found is not None and number == 0:
            own = pace * np.array([math.cos(heading), math.sin(heading)])
            things.append(_Thing(*found, home, own=own, spin=float(spin)))
        elif found is not None:
            things.append(_Thing(*found, home, depth=float(depth)))
    return _Scene(background, camera, [things[k] for k in rng.permutation(len(things))])


def _cut(picture: VideoSequence, size: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The picture's object, colours and cover, as large as fits into `size` (width, height); None if it has none."""
    cover = picture.mask(0)
    x, y, width, height = cv2.boundingRect(cover)
    if not width:
        return None
    scale = min(size[0] / width, size[1] / height)
    to = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    part = slice(y, y + height), slice(x, x + width)
    colours, cover = (
        cv2.resize(a[part].astype(np.float32), to, interpolation=how) for a in (picture.frame(0), cover)
    )
    return colours, cv2.GaussianBlur(cover, (3, 3), 0.7)


@lru_cache(maxsize=8)  # frame(i) and mask(i) are asked for one after the other
def _render(clip: CrowdSequence, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame `i` and its mask: (H, W, 3) uint8, (H, W) uint8 in {0, 1}."""
    scene, (height, width) = _scene(clip), clip.size
    time = i - (len(clip) - 1) / 2
    to_frame = _place(np.array([width, height]) / 2)

    def seen(picture: np.ndarray, place: np.ndarray, border: int) -> np.ndarray:
        return cv2.warpAffine(picture, (to_frame @ place)[:2], (width, height), borderMode=border)

    middle = _place(-np.array(scene.background.shape[1::-1]) / 2)
    frame = seen(scene.background, scene.camera.at(time) @ middle, cv2.BORDER_REFLECT)
    mask = np.zeros((height, width), np.uint8)
    for thing in scene.things:
        place = thing.at(time, scene.camera)
        cover = seen(thing.cover, place, cv2.BORDER_CONSTANT)
        frame += cover[..., None] * (seen(thing.colours, place, cv2.BORDER_REPLICATE) - frame)
        mask[cover > 0.5] = thing.own is not None
    return np.rint(frame).clip(0, 255).astype(np.uint8), mask


def _way(time: float) -> float:
    """To and fro: how many frames' way, at full speed, lies between the clip's middle and `time`."""
    return PERIOD / (2 * math.pi) * math.sin(2 * math.pi * time / PERIOD)


def _place(shift: np.ndarray, angle: float = 0.0, scale: float = 1.0) -> np.ndarray:
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0.0, 0.0, 1.0]])
