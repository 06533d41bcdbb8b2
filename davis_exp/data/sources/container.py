"""Video files as FFmpeg opens them: files indeed, of formats that lead to no other, and the track that players show."""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from davis_exp.data.pictures import MAX_PIXELS
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

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
LOST = Fraction(1)  # seconds at a video's end that may be missing
GIF_END = b"\0;"


@contextlib.contextmanager
def opened(path: Path, done: Callable[[], int] = int) -> Iterator[tuple[Any, Any]]:
    """FFmpeg's container and video track of a file; `done` gives how many frames were had when it fails.

    The track is the one that is marked as the default, or the first; a cover is none. Raises BadInput.
    """
    import av  # loads FFmpeg: only where there is a video
    from av.stream import Disposition

    try:
        # An opened file, so that no name is taken for a protocol; of a format that leads to no other file.
        with given.open_file(path) as file, av.open(file, options=OPTIONS) as container:
            covers = Disposition.attached_pic | Disposition.timed_thumbnails
            tracks = [track for track in container.streams.video if not track.disposition & covers]
            if not tracks:
                only = "a cover only: it is music" if container.streams.video else "audio only?"
                raise BadInput(f"{path} has no picture in it ({only}): give a video")
            track = next((t for t in tracks if t.disposition & Disposition.default), tracks[0])
            if track.codec_context is None:
                raise BadInput(f"{path} cannot be decoded at all (its codec is not known here)")
            check_size(path, track.codec_context.width, track.codec_context.height)
            yield container, track
    except av.error.ArgumentError as error:  # what FFmpeg says of a format that is not on our list
        raise BadInput(
            f"{given.shown(path)} is no video of a kind that is read: give mp4, mov, mkv, webm, avi, gif or ts"
        ) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise broken(path, done(), getattr(error, "strerror", None) or str(error)) from error


def check_size(path: Path, width: int, height: int) -> None:
    """Raises BadInput for more pixels than any picture has."""
    if width * height > MAX_PIXELS:
        raise BadInput(
            f"{path} announces {width}x{height} pixels, more than {MAX_PIXELS:,}: refused without decoding"
        )


def broken(path: Path, count: int, reason: str) -> BadInput:
    """What is said of a file that gives no more than `count` frames."""
    where = f"after frame {count}" if count else "at all"
    return BadInput(f"{path} cannot be decoded {where} ({reason}): give a whole video file")


def breaks_off(path: Path, found: int, last: Fraction) -> str | None:
    """What is missing of a file in which `found` frames were found, the last shown at `last` seconds.

    None for a whole file, as far as its format tells: a transport stream says nothing of its end.
    """
    size = path.stat().st_size
    with opened(path) as (container, track):
        formats = {*container.format.name.split(",")}
        if "mov" in formats and any(entry.pos + entry.size > size for entry in track.index_entries):
            return _missing(path, found, len(track.index_entries))
        if "avi" in formats and track.frames > found and _riff_size(path) > size:
            return _missing(path, found, track.frames)
        if "gif" in formats and GIF_END not in _tail(path, size):
            return _missing(path, found)
        whole = Fraction(container.duration or 0, 1_000_000)
        allowed = min(LOST, whole / 2)
        if "matroska" not in formats or last + allowed >= whole:
            return None
        # Sound may go on for longer than the picture does.
        ends = (p.pts * p.time_base for p in container.demux() if p.pts is not None)
        if max(ends, default=Fraction(0)) + allowed >= whole:
            return None
        return _missing(path, found, round(whole * track.average_rate) if track.average_rate else None)


def _missing(path: Path, found: int, announced: int | None = None) -> str:
    of = f" of the {announced:,} that it announces" if announced else ""
    return f"{path} breaks off: {found:,} frames{of} are there, and these were used; get the whole file"


def _riff_size(path: Path) -> int:
    with given.open_file(path) as file:
        return int.from_bytes(file.read(8)[4:], "little") + 8


def _tail(path: Path, size: int) -> bytes:
    with given.open_file(path) as file:
        file.seek(max(0, size - 1024))
        return file.read()
