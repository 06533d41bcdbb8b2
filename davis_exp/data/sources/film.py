"""A file of many pictures, read in order: what videos and animations share."""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from davis_exp.config.parts import FURTHEST
from davis_exp.data.sequences import VideoSequence
from davis_exp.utils.errors import BadInput

BYTES_HELD = 2**29  # but no more than this of large ones
FEWEST = 2 * FURTHEST + 1
FRAMES_HELD = 24  # decoded frames held: more than reading ahead and a motion's neighbour ever go back


class Film(VideoSequence):
    """The frames of a file, decoded as they are asked for, in order.

    Going back further than a few frames starts over, so that memory does not grow with the film. Not for several
    threads: each wants its own (`again`).

    Args:
        path: the file.
        every: keep one frame in so many.

    Attributes:
        times: when each frame is shown, seconds from the first, as exact fractions.
        breaks_off: what is missing of a file that is cut short, as a line; None for a whole one.
        pixel_aspect: a pixel's width over its height, as frames are to be shown.
    """

    labelled = False
    breaks_off: str | None = None
    pixel_aspect = Fraction(1)

    def __init__(self, path: Path, every: int = 1) -> None:
        self.path, self.every, self.name = path, every, path.stem
        self._shown: list[Fraction] = []
        self._start_over()

    def _settle(self, shown: list[Fraction]) -> None:
        """Have frames at these times of the file, of which one in `every` is kept."""
        self._shown = shown[:: self.every]
        self.times = tuple(time - self._shown[0] for time in self._shown)
        self.index = tuple(range(len(self._shown)))
        self.frame_ids = tuple(f"{self.name}/{i * self.every:05d}" for i in self.index)

    def again(self) -> "Film":
        """The same film, to be read independently of this one."""
        other: Film = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._start_over()
        return other

    @property
    def key(self) -> str:
        status = self.path.stat()
        return f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns} {self.every}"

    def files(self) -> Iterator[Path]:
        yield self.path

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.frame(0).shape[:2]
        return height, width

    def frame(self, i: int) -> np.ndarray:
        if i not in self._kept and i < self._next:
            self._start_over()
        while i not in self._kept:
            picture = next(self._pictures, None)
            if picture is None:
                raise BadInput(
                    f"{self.path} cannot be decoded after frame {self._next} (there are no more frames): give a whole "
                    "file"
                )
            self._kept[self._next] = picture
            self._next += 1
            if len(self._kept) > max(FEWEST, min(FRAMES_HELD, BYTES_HELD // picture.nbytes)):
                self._kept.popitem(last=False)
        return self._kept[i]

    def mask(self, i: int) -> np.ndarray:
        raise BadInput(f"{self.path} has no masks")

    def _start_over(self) -> None:
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._next = 0
        self._pictures = self._decoded()

    @abstractmethod
    def _decoded(self) -> Iterator[np.ndarray]:
        """The picture at each of the times that were settled on."""
