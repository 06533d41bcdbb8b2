"""Videos and folders of pictures, as a user has them: sequences without masks."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data.sequences import Sequence
from davis_exp.data.sources import open_source
from davis_exp.data.sources.contest import TABLE
from davis_exp.data.sources.files import FRAME_SUFFIXES, FileSequence
from davis_exp.errors import BadInput

PICTURES = (*FRAME_SUFFIXES, ".webp", ".bmp", ".tif", ".tiff")
RATE = Fraction(24)  # pictures a second where a file does not say
KEPT = 24  # decoded frames held: more than reading ahead and a motion's neighbour ever go back


class VideoSequence(Sequence):
    """The frames of a video file, decoded as they are asked for, in order; turned as its metadata says.

    Going back further than a few frames starts over, so that memory does not grow with the video. Not for several
    threads: each wants its own (`again`).

    Args:
        path: anything FFmpeg reads.
        every: keep one frame in so many.

    Attributes:
        times: when each frame is shown, seconds from the first, as exact fractions.

    Raises:
        BadInput: not a video, or broken.
    """

    labelled = False

    def __init__(self, path: Path, every: int = 1) -> None:
        self.path, self.every, self.name = path, every, path.stem
        shown = [time for i, time in enumerate(self._times()) if i % every == 0]
        if not shown:
            raise BadInput(f"{path} has no picture in it: give a video")
        self.times = tuple(time - shown[0] for time in shown)
        self.index = tuple(range(len(shown)))
        self.frame_ids = tuple(f"{self.name}/{i:05d}" for i in self.index)
        self._start_over()

    def again(self) -> "VideoSequence":
        """The same video, to be read independently of this one."""
        other = object.__new__(VideoSequence)
        other.__dict__.update(self.__dict__)
        other._start_over()
        return other

    @property
    def key(self) -> str:
        status = self.path.stat()
        return f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns} {self.every}"

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.frame(0).shape[:2]
        return height, width

    def frame(self, i: int) -> np.ndarray:
        if i not in self._kept and i < self._next:
            self._start_over()
        while i not in self._kept:
            try:
                self._kept[self._next] = _turned(next(self._frames))
            except StopIteration:
                raise BadInput(
                    f"{self.path} ended at frame {self._next}: it changed while it was read"
                ) from None
            self._next += 1
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[i]

    def mask(self, i: int) -> np.ndarray:
        raise BadInput(f"{self.path} has no masks")

    def _start_over(self) -> None:
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._next = 0
        self._frames = (frame for i, frame in enumerate(self._decoded()) if i % self.every == 0)

    def _times(self) -> Iterator[Fraction]:
        """When each frame is shown. Decodes the whole video, since headers may promise what is not there."""
        last = -1 / RATE
        for frame in self._decoded():
            known = frame.pts is not None and frame.time_base is not None
            time = frame.pts * frame.time_base if known else last + 1 / RATE
            last = max(time, last + Fraction(1, 1000))  # two frames cannot be shown at one time
            yield last

    def _decoded(self) -> Iterator[Any]:
        import av  # loads FFmpeg: only where there is a video

        count = 0
        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise BadInput(f"{self.path} has no picture in it (audio only?): give a video")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for frame in container.decode(stream):
                    count += 1
                    yield frame
        except FileNotFoundError:
            raise BadInput(f"no file {self.path}") from None
        except (av.error.FFmpegError, OSError, ValueError) as error:
            where = f"after frame {count}" if count else "at all"
            reason = getattr(error, "strerror", None) or str(error)
            raise BadInput(
                f"{self.path} cannot be decoded {where} ({reason}): give a whole video file"
            ) from error


def _turned(frame: Any) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB, upright."""
    picture = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as numpy turns
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture


def open_input(path: Path, every: int = 1) -> list[Sequence]:
    """What a user gives to predict on: a video, a folder of pictures, or a data set (its test stage).

    Raises BadInput if it is none of these.
    """
    if path.is_file():
        if path.suffix.lower() in PICTURES:
            return [_pictures(path.stem, [path])]
        return [VideoSequence(path, every)]
    if not path.is_dir():
        raise BadInput(f"no such file or folder: {path}")
    if (path / "ImageSets").is_dir() or list(path.glob(f"{TABLE}")) or list(path.glob(f"*/{TABLE}")):
        return open_source(path).sequences("test")
    pictures = sorted((p for p in path.iterdir() if p.suffix.lower() in PICTURES), key=_natural)
    if not pictures:
        raise BadInput(
            f"{path} holds no pictures ({', '.join(PICTURES)}) and no data set: give a video or frames"
        )
    return [_pictures(path.resolve().name, pictures[::every])]


def _pictures(name: str, files: list[Path]) -> FileSequence:
    return FileSequence(name, str(files[0].parent.resolve()), files, None)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.png before 10.png."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
