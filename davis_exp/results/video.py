"""Pictures → a video file."""

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from davis_exp.utils import written
from davis_exp.utils.errors import BadInput

# Half the time of "superfast", and at this quality files of the size that it makes at crf 20.
X264 = {"crf": "23", "preset": "ultrafast"}
# By suffix: codec, pixel format, options. 4:2:0 needs even sides: pictures are padded by their edge.
FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mp4": ("libx264", "yuv420p", X264),
    ".mov": ("libx264", "yuv420p", X264),
    ".webm": ("libvpx-vp9", "yuva420p", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "8"}),
    ".gif": ("gif", "rgb8", {}),
}
BT601, LIMITED = 5, 1  # FFmpeg's numbers
TICKS = {".gif": 100}  # a second; a gif counts hundredths


class VideoWriter:
    """Writes pictures with the times they are shown at; the file appears when it is whole.

    Args:
        path: its suffix (.mp4, .mov, .webm, .gif) chooses the format.
        aspect: a pixel's width over its height, as it is to be shown.

    Raises:
        BadInput: another suffix.
    """

    def __init__(self, path: Path, aspect: Fraction = Fraction(1)) -> None:
        if path.suffix.lower() not in FORMATS:
            raise BadInput(
                f"{path}: cannot write a {path.suffix or 'nameless'} video; use {', '.join(FORMATS)}"
            )
        self.path, self.aspect = path, aspect
        self._whole = contextlib.ExitStack()
        self._container: Any = None
        self._failure: OSError | None = None
        self._stream: Any = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *raised: Any) -> None:
        if any(raised):
            self._abandon()
            self._whole.__exit__(*raised)
            return
        if self._container is None:  # nothing was added
            return
        with self._whole:
            try:
                self._container.mux(self._stream.encode(None))
                self._container.close()
            except OSError:
                self._abandon()
                raise

    def _abandon(self) -> None:
        """Close a file that will not be whole, whatever FFmpeg has to say of that."""
        if self._container is not None:
            with contextlib.suppress(OSError):
                self._container.close()

    def add(self, picture: np.ndarray, time: Fraction) -> None:
        """Adds (H, W, 3) or, with a transparent background, (H, W, 4) uint8, shown from `time` (seconds) on.

        Raises OSError where it cannot be written, then and from then on: FFmpeg crashes when it is asked again.
        """
        if self._failure is not None:
            raise self._failure
        try:
            self._add(picture, time)
        except OSError as error:
            self._failure = error
            raise

    def _add(self, picture: np.ndarray, time: Fraction) -> None:
        import av

        height, width = picture.shape[:2]
        if height % 2 or width % 2:
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._container is None:
            self._open(picture.shape)
        if self._stream.pix_fmt == "yuv420p":  # by OpenCV in an eighth of FFmpeg's time
            planes: Any = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        else:
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture), format="rgba" if picture.shape[2] == 4 else "rgb24"
            )
        frame.time_base = self._stream.codec_context.time_base
        frame.pts = round(time / frame.time_base)
        self._container.mux(self._stream.encode(frame))

    def _open(self, shape: tuple[int, ...]) -> None:
        import av

        suffix = self.path.suffix.lower()
        codec, pixels, options = FORMATS[suffix]
        part = self._whole.enter_context(written.atomic_file(self.path))
        self._container = av.open(str(part), "w", format=self.path.suffix.lower()[1:])
        ticks = TICKS.get(suffix, 90_000)
        self._stream = self._container.add_stream(codec, options=options)
        self._stream.height, self._stream.width = shape[:2]
        self._stream.pix_fmt = pixels
        self._stream.sample_aspect_ratio = self._stream.codec_context.sample_aspect_ratio = self.aspect
        self._stream.codec_context.time_base = Fraction(1, ticks)
        if pixels == "yuv420p":  # as OpenCV converts; untagged, players take large pictures for BT.709
            self._stream.codec_context.colorspace, self._stream.codec_context.color_range = BT601, LIMITED
