"""Videos and folders of pictures, as a user has them: sequences without masks."""

import contextlib
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data.pictures import MAX_PIXELS
from davis_exp.data.sequences import Picked, Sequence
from davis_exp.data.sources import layouts, open_source
from davis_exp.data.sources.contest import TABLE
from davis_exp.data.sources.files import FRAME_SUFFIXES, FileSequence
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

log = logging.getLogger(__name__)

PICTURES = (*FRAME_SUFFIXES, ".webp", ".bmp", ".tif", ".tiff")
RATE = Fraction(24)  # pictures a second where a file does not say
# FFmpeg's names of formats that hold each frame by itself
FRAME_A_PACKET = {"mp4", "matroska", "webm", "gif"}
# FFmpeg's names of the formats that are read: each holds its pictures itself, where a playlist names other files
CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "gif", "apng", "mpegts", "mpeg", "mpegvideo", "ogg", "flv", "asf"),
    *("yuv4mpegpipe", "h264", "hevc", "m4v", "mjpeg", "dv", "mxf", "ivf", "nut"),
)
OPTIONS = {
    "format_whitelist": ",".join(CONTAINERS),
    "protocol_whitelist": "none",  # of what a file might have opened besides itself
    "max_pixels": str(MAX_PIXELS),
}
FRAMES = 1_000_000
HIDDEN = {"vp8"}  # codecs with packets that are no frames, and nothing in the format that says which
LOST = Fraction(1)  # seconds at a video's end that may be missing
KEPT_BYTES = 2**29  # but no more than this of large ones
FEWEST = 4
KEPT = 24  # decoded frames held: more than reading ahead and a motion's neighbour ever go back


class VideoSequence(Sequence):
    """The frames of a video file, decoded as they are asked for, in order; turned as its metadata says.

    Going back further than a few frames starts over, so that memory does not grow with the video. Not for several
    threads: each wants its own (`again`). In the place of a frame that is damaged stands the one before it, as in
    any player, and after the last that can be decoded up to a second of it.

    Args:
        path: a file in one of FFmpeg's formats that are in CONTAINERS.
        every: keep one frame in so many.

    Attributes:
        times: when each frame is shown, seconds from the first, as exact fractions.

    Raises:
        BadInput: no local video file of a format that holds its own pictures, or a broken one. If it breaks off
            further on, when that frame is asked for.
    """

    labelled = False

    def __init__(self, path: Path, every: int = 1) -> None:
        self.path, self.every, self.name = path, every, path.stem
        self._start_over()
        self._shown = (self._promised() or [time for time, _ in self._timed()])[::every]
        if not self._shown:
            raise BadInput(f"{path} has no picture in it: give a video")
        self.times = tuple(time - self._shown[0] for time in self._shown)
        self.index = tuple(range(len(self._shown)))
        self.frame_ids = tuple(f"{self.name}/{i * every:05d}" for i in self.index)

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
            picture = next(self._pictures, None)
            if picture is None:
                raise self._broken(self._next, "there are no more frames")
            self._kept[self._next] = picture
            self._next += 1
            if len(self._kept) > max(FEWEST, min(KEPT, KEPT_BYTES // picture.nbytes)):
                self._kept.popitem(last=False)
        return self._kept[i]

    def mask(self, i: int) -> np.ndarray:
        raise BadInput(f"{self.path} has no masks")

    def _start_over(self) -> None:
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._next = 0
        self._pictures = self._decoded()

    def _decoded(self) -> Iterator[np.ndarray]:
        """The picture at each of the times that were found when the video was opened."""
        frames = self._timed()
        shown, ahead, whole = None, next(frames, None), True
        for i, time in enumerate(self._shown):
            while ahead is not None and (shown is None or ahead[0] <= time):
                shown, ahead = ahead, next(frames, None)
            if shown is None or (ahead is None and time - shown[0] > LOST):
                raise self._broken(i, "its frames are damaged or missing")
            if whole and shown[0] != time:
                log.warning("%s: damaged from frame %d, another stands in its place", self.path, i)
            whole = shown[0] == time
            yield _turned(shown[1])

    def _promised(self) -> list[Fraction] | None:
        """When each frame is shown by the file's own account: None where that may not be what decoding will find."""
        with self._opened() as (container, stream):
            formats = container.format.name.split(",")
            if not FRAME_A_PACKET.intersection(formats) or stream.codec_context.name in HIDDEN:
                return None
            times, first = set(), None
            for packet in container.demux(stream):  # none is kept: together they are the file
                if not packet.size:
                    continue
                if packet.is_corrupt or packet.is_discard or packet.pts is None or packet.pts in times:
                    return None
                if first is None and not packet.is_keyframe:
                    return None
                first = packet.pts if first is None else first
                times.add(packet.pts)
                if len(times) > FRAMES:
                    raise BadInput(f"{self.path} has more than {FRAMES:,} frames: cut it into parts")
            # A video cut out of another may begin with frames that hang on what was cut away.
            return list(_apart(time * stream.time_base for time in sorted(times) if time >= first))

    def _timed(self) -> Iterator[tuple[Fraction, Any]]:
        """Every frame that can be decoded, and when it is shown."""
        one, other = tee(self._frames())
        times = (frame.pts * frame.time_base if frame.pts is not None else None for frame in one)
        return zip(_apart(times), other, strict=True)

    def _frames(self) -> Iterator[Any]:
        import av

        with self._opened() as (container, stream):
            # By frames, what a damaged one takes with it would depend on the number of cores.
            stream.thread_type = "SLICE"
            error, found = None, False
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        found = True
                        self._check_size(frame.width, frame.height)
                        yield frame
                except av.error.InvalidDataError as invalid:
                    error = invalid
            if error is not None and not found:
                raise error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        import av  # loads FFmpeg: only where there is a video

        try:
            # An opened file, so that no name is taken for a protocol; of a format that leads to no other file.
            with given.open_file(self.path) as file, av.open(file, options=OPTIONS) as container:
                if not container.streams.video:
                    raise BadInput(f"{self.path} has no picture in it (audio only?): give a video")
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise BadInput(f"{self.path} cannot be decoded at all (its codec is not known here)")
                self._check_size(stream.codec_context.width, stream.codec_context.height)
                yield container, stream
        except av.error.ArgumentError as error:  # what FFmpeg says of a format that is not on our list
            raise BadInput(
                f"{given.shown(self.path)} is no video of a kind that is read: give mp4, mov, mkv, webm, avi, gif or ts"
            ) from error
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._broken(self._next, reason) from error

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            raise BadInput(
                f"{self.path} announces {width}x{height} pixels, more than {MAX_PIXELS:,}: refused without decoding"
            )

    def _broken(self, count: int, reason: str) -> BadInput:
        where = f"after frame {count}" if count else "at all"
        return BadInput(f"{self.path} cannot be decoded {where} ({reason}): give a whole video file")


def _apart(times: Iterable[Fraction | None]) -> Iterator[Fraction]:
    """The times with what is unknown filled in, each later than the one before: two frames cannot be shown at once."""
    last: Fraction | None = None
    for time in times:
        if last is None:
            last = time or Fraction(0)
        else:
            last = max(last + 1 / RATE if time is None else time, last + Fraction(1, 1000))
        yield last


def _turned(frame: Any) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB, upright."""
    picture = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, as numpy turns
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture


def open_input(path: Path, every: int = 1) -> list[Sequence]:
    """What a user gives to predict on: a video, a folder of pictures, or a data set (its test stage); one frame in `every`.

    Raises BadInput if it is none of these.
    """
    if not path.is_dir() and path.exists():
        if path.suffix.lower() in PICTURES:
            return [_pictures(path.stem, [path])]
        return [VideoSequence(path, every)]
    named = path.parts and path.parts[0].partition(":")[0] in layouts()
    if not path.is_dir() and not named:
        raise BadInput(f"no such file or folder: {path}")
    if named or (path / "ImageSets").is_dir() or list(path.glob(f"{TABLE}")) or list(path.glob(f"*/{TABLE}")):
        return _thinned(open_source(path).sequences("test"), every)
    pictures = sorted((p for p in path.iterdir() if p.suffix.lower() in PICTURES), key=_natural)
    for picture in pictures:
        if not picture.is_file():
            raise BadInput(f"{given.shown(picture)} is no file that can be read: take it out of the folder")
    if not pictures:
        try:
            return _thinned(open_source(path).sequences("test"), every)
        except BadInput as error:
            raise BadInput(
                f"{path} holds no pictures ({', '.join(PICTURES)}) and no data set: give a video or frames ({error})"
            ) from error
    return [_pictures(path.resolve().name, pictures[::every])]


def _thinned(sequences: list[Sequence], every: int) -> list[Sequence]:
    return [Picked(s, range(0, len(s), every)) if every > 1 else s for s in sequences]


def _pictures(name: str, files: list[Path]) -> FileSequence:
    return FileSequence(name, str(files[0].parent.resolve()), files, None)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2.png before 10.png."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
