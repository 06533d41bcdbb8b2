"""Small data sets on disk, made for each test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from davis_exp.data.sequences import VideoSequence


class ArraySequence(VideoSequence):
    """Frames whose red value is the frame's number and green value `tint`; masks of `i + 1` columns."""

    def __init__(
        self,
        name: str,
        length: int = 5,
        first: int = 0,
        *,
        labelled: bool = True,
        key: str = "",
        tint: int = 0,
    ) -> None:
        self.name, self.labelled, self.tint = name, labelled, tint
        self.index = tuple(range(first, first + length))
        self.frame_ids = tuple(f"{name}/{i:05d}" for i in range(length))
        self._key = key or name

    @property
    def key(self) -> str:
        return self._key

    @property
    def size(self) -> tuple[int, int]:
        return 20, 30

    def frame(self, i: int) -> np.ndarray:
        frame = np.zeros((20, 30, 3), np.uint8)
        frame[..., 0] = range(len(self))[i]
        frame[..., 1] = self.tint
        return frame

    def mask(self, i: int) -> np.ndarray:
        mask = np.zeros((20, 30), np.uint8)
        mask[:, : i + 1] = 1
        return mask


def draw_frame(path: Path, value: int, size: tuple[int, int] = (8, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def draw_mask(path: Path, columns: int, size: tuple[int, int] = (8, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    mask[:, :columns] = 255
    Image.fromarray(mask).save(path)


class Unchanged:
    """An augmentation that changes nothing, and the change that it draws."""

    finest = None

    def draw(self, size, rng):
        return self

    def halvings(self, size):
        return 0

    def __call__(self, frames, masks, vectors=None):
        return np.stack(frames), np.stack(masks), vectors


@pytest.fixture
def unchanged() -> Unchanged:
    return Unchanged()


@pytest.fixture
def array_sequence() -> type[ArraySequence]:
    return ArraySequence


@pytest.fixture
def davis_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes frames and masks of `clips` ({name: frames}) in DAVIS layout; the lists are the test's."""

    def make(
        clips: dict[str, int],
        resolution: str = "480p",
        labelled: bool = True,
        size: tuple[int, int] = (8, 12),
    ) -> Path:
        root = tmp_path / "davis"
        for name, length in clips.items():
            for i in range(length):
                draw_frame(root / "JPEGImages" / resolution / name / f"{i:05d}.jpg", 10 * i, size)
                if labelled:
                    draw_mask(root / "Annotations" / resolution / name / f"{i:05d}.png", i + 1, size)
        return root

    return make


@pytest.fixture
def write_list() -> Callable[[Path, str, list[str]], None]:
    def write(root: Path, name: str, lines: list[str]) -> None:
        path = root / "ImageSets" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")

    return write
