"""Videos and folders of pictures, as a user has them: sequences without masks."""

import logging
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data.frames import FRAME_SUFFIXES
from davis_exp.data.sequences import Picked, VideoSequence
from davis_exp.data.sources import layouts, open_source
from davis_exp.data.sources.animation import AnimationSequence, pictures_in
from davis_exp.data.sources.container import LOST, breaks_off, broken, check_size, opened
from davis_exp.data.sources.contest import TABLE
from davis_exp.data.sources.files import FileSequence
from davis_exp.data.sources.film import Film
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput
from davis_exp.utils.names import hidden, natural

log = logging.getLogger(__name__)

PICTURES = (*FRAME_SUFFIXES, ".webp", ".bmp", ".tif", ".tiff")
RATE = Fraction(24)  # pictures a second where a file does not say
# FFmpeg's names of formats that hold each frame by itself
FRAME_A_PACKET = {"mp4", "matroska", "webm", "gif"}
FRAMES = 1_000_000
HIDDEN = {"vp8"}  # codecs with packets that are no frames, and nothing in the format that says which


class VideoFile(Film):
    """The frames of a video file, turned as its metadata says.

    In the place of a frame that is damaged stands the one before it, as in any player, and after the last that can be
    decoded up to a second of it.

    Raises:
        BadInput: no local video file of a format that holds its own pictures, or a broken one. If it breaks off
            further on, when that frame is asked for.
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        super().__init__(path, every)
        self._quarters = 0  # how often frames are turned
        shown = self._promised() or [time for time, _ in self._timed()]
        if not shown:
            raise BadInput(f"{path} has no picture in it: give a video")
        self._settle(shown)
        self.breaks_off = breaks_off(path, len(shown), shown[-1])

    @property
    def pixel_aspect(self) -> Fraction:  # type: ignore[override]
        with opened(self.path) as (_, stream):
            aspect = Fraction(stream.sample_aspect_ratio or 1)
        if not self._next:
            self.frame(0)
        return 1 / aspect if self._quarters % 2 and aspect else aspect or Fraction(1)

    def _decoded(self) -> Iterator[np.ndarray]:
        """The picture at each of the times that were found when the video was opened."""
        frames = self._timed()
        shown, ahead, whole = None, next(frames, None), True
        for i, time in enumerate(self._shown):
            while ahead is not None and (shown is None or ahead[0] <= time):
                shown, ahead = ahead, next(frames, None)
            if shown is None or (ahead is None and time - shown[0] > LOST):
                raise broken(
                    self.path, i, f"the other {len(self._shown) - i:,} frames are damaged or missing"
                )
            if whole and shown[0] != time:
                log.warning("%s: damaged from frame %d, another stands in its place", self.path, i)
            whole = shown[0] == time
            self._quarters = round(shown[1].rotation / 90) % 4  # counter-clockwise, as numpy turns
            picture = np.rot90(shown[1].to_ndarray(format="rgb24"), self._quarters)
            yield np.ascontiguousarray(picture)

    def _promised(self) -> list[Fraction] | None:
        """When each frame is shown by the file's own account: None where that may not be what decoding will find."""
        with opened(self.path, lambda: self._next) as (container, stream):
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

        with opened(self.path, lambda: self._next) as (container, stream):
            # By frames, what a damaged one takes with it would depend on the number of cores.
            stream.thread_type = "SLICE"
            error, found = None, False
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        found = True
                        check_size(self.path, frame.width, frame.height)
                        yield frame
                except av.error.InvalidDataError as invalid:
                    error = invalid
            if error is not None and not found:
                raise error


def _apart(times: Iterable[Fraction | None]) -> Iterator[Fraction]:
    """The times with what is unknown filled in, each later than the one before: two frames cannot be shown at once."""
    last: Fraction | None = None
    for time in times:
        if last is None:
            last = time or Fraction(0)
        else:
            last = max(last + 1 / RATE if time is None else time, last + Fraction(1, 1000))
        yield last


def open_input(path: Path, every: int = 1) -> list[VideoSequence]:
    """What a user gives to predict on: a video, a folder of pictures, or a data set (its test stage); one frame in `every`.

    Raises BadInput if it is none of these.
    """
    if not path.is_dir() and path.exists():
        if path.suffix.lower() in PICTURES:
            if pictures_in(path) > 1:
                return [AnimationSequence(path, every)]
            return [_pictures(path.stem, [path])]
        return [VideoFile(path, every)]
    named = path.parts and path.parts[0].partition(":")[0] in layouts()
    if not path.is_dir() and not named:
        raise BadInput(f"no such file or folder: {path}")
    if named or (path / "ImageSets").is_dir() or list(path.glob(f"{TABLE}")) or list(path.glob(f"*/{TABLE}")):
        return _thinned(open_source(path).sequences("test"), every)
    there = (p for p in path.iterdir() if p.suffix.lower() in PICTURES and not hidden(p.name))
    pictures = sorted(there, key=natural)
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


def _thinned(sequences: list[VideoSequence], every: int) -> list[VideoSequence]:
    return [Picked(s, range(0, len(s), every)) if every > 1 else s for s in sequences]


def _pictures(name: str, files: list[Path]) -> FileSequence:
    return FileSequence(name, str(files[0].parent.resolve()), files, None)
