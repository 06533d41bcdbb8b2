"""Where motion pictures come from when no network of the model computes them: the `flow` group's data side."""

import io
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from PIL import Image

from davis_exp.data import cache as files
from davis_exp.data import flow_geometry
from davis_exp.data.cache import identity
from davis_exp.data.sequences import VideoSequence
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import ordered
from davis_exp.utils.progress import progress_bar

log = logging.getLogger(__name__)

Preset = Literal["ultrafast", "fast", "medium"]
Direction = Literal["forward", "backward"]

FORMAT = 1  # of the files kept; another number makes every old one unknown
STEPS = 32  # a pixel of motion is kept in this many steps, so to within 1/64 pixel, up to 1,024 pixels
LEAST = 96  # smaller frames are padded: OpenCV's DIS crashes on thin ones

_of_thread = threading.local()  # OpenCV's flow objects hold scratch space: one a thread


class MotionSource(ABC):
    """Motion for the frames of any sequence, the same for training and for whole sequences."""

    @abstractmethod
    def vectors(self, sequence: VideoSequence, i: int, gap: int | None = None) -> np.ndarray | None:
        """Motion at frame `i`: (2, h, w) float32 in pixels of its own grid, x before y.

        To the frame `gap` later (below 0: earlier); None: to the one that it was trained with. None, for all frames of a
        sequence or for none, where the frame itself is the motion picture. Raises BadInput for frames that cannot be read
        or compared.
        """

    def identity(self, sequence: VideoSequence, i: int) -> object:
        """What decides `vectors`, to find them again where they are kept; None where they are not to be kept."""
        return None

    def prepare(  # noqa: B027  # most have nothing to do
        self, sequences: Iterable[VideoSequence], gaps: Sequence[int | None] = (None,)
    ) -> None:
        """Do now, in parallel, what these sequences would otherwise wait for. Raises as `vectors` does."""


class RgbFlow(MotionSource):
    """Every frame is its own motion picture: a second look at the image, and two streams without motion.

    Cho et al., "Treating Motion as Option to Reduce Motion Dependency in Unsupervised Video Object
    Segmentation" (TMO), WACV 2023.
    """

    def vectors(self, sequence: VideoSequence, i: int, gap: int | None = None) -> None:
        return None


class DisFlow(MotionSource):
    """Dense inverse search: optical flow without parameters, kept on disk.

    Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, in OpenCV. The frame at the
    sequence's end, which has no next one, takes the flow to the one before it, negated; so do those that have none so
    far away. Stills, and sequences of one frame, have no motion: their frames are their motion pictures.

    What is kept depends on the two frames' content and on these settings, not on where the data lies: fields
    at half the resolution (DIS itself ends at a half, at a quarter in the faster presets), in 1/32 pixel.

    Args:
        direction: forward, to the next frame; or backward, to the one before: causal.
        preset: OpenCV's; the faster, the coarser.
        max_side: frames longer than this are made smaller first; pixels.
        cache: the folder to keep flow in; None for flow/ below $DAVIS_EXP_CACHE or ~/.cache/davis_exp; False keeps
            none.

    Raises:
        BadInput: an unknown preset or direction.
    """

    def __init__(
        self,
        direction: Direction = "forward",
        preset: Preset = "medium",
        max_side: int = 640,
        cache: str | Literal[False] | None = None,
    ) -> None:
        for name, value, known in (("direction", direction, Direction), ("preset", preset, Preset)):
            if value not in get_args(known):
                raise BadInput(f"flow.{name} must be {' or '.join(get_args(known))}, got {value!r}")
        if max_side < LEAST:
            raise BadInput(f"flow.max_side must be at least {LEAST} pixels, got {max_side}")
        self.direction, self.preset, self.max_side = direction, preset, max_side
        folder = Path(cache).expanduser() if cache else files.default_folder("flow")
        self.cache = None if cache is False else files.FileCache(folder)

    def vectors(self, sequence: VideoSequence, i: int, gap: int | None = None) -> np.ndarray | None:
        if not _moves(sequence):
            return None
        other, sign = self._pair(sequence, i, gap)
        if self.cache is None:
            return sign * _vectors(self._compute(sequence, i, other))
        key = self._key(sequence, i, other)
        kept = self.cache.read(key)
        steps = None if kept is None else _decode(kept)
        if steps is None:
            steps = self._compute(sequence, i, other)
            self.cache.write(key, _encode(steps))
        return sign * _vectors(steps)

    def identity(self, sequence: VideoSequence, i: int) -> object:
        if not _moves(sequence):
            return None
        other, sign = self._pair(sequence, i)
        return self._key(sequence, i, other), sign

    def prepare(self, sequences: Iterable[VideoSequence], gaps: Sequence[int | None] = (None,)) -> None:
        cache = self.cache
        if cache is None:
            return
        missing = [
            (sequence, i, other, key)
            for sequence in sequences
            if _moves(sequence)
            for i in range(len(sequence))
            for other in {self._pair(sequence, i, gap)[0] for gap in gaps}
            if (key := self._key(sequence, i, other)) not in cache
        ]
        if not missing:
            return
        log.info("computing %d fields of optical flow, to be kept in %s", len(missing), cache.folder)

        def keep(job: tuple[VideoSequence, int, int, str]) -> None:
            sequence, i, other, key = job
            cache.write(key, _encode(self._compute(sequence, i, other)))

        with progress_bar("optical flow") as progress:
            for _ in ordered(keep, missing, len(missing), os.cpu_count() or 2, progress):
                pass

    def _pair(self, sequence: VideoSequence, i: int, gap: int | None = None) -> tuple[int, int]:
        """The frame that frame `i` is compared with, and the sign that its flow then takes."""
        step = gap or (1 if self.direction == "forward" else -1)
        last = len(sequence) - 1
        if 0 <= i + step <= last:
            return i + step, 1
        if 0 <= i - step <= last:
            return i - step, -1
        other = min(max(0, i + step), last)  # a sequence shorter than the gap: as far as it goes
        return (other, 1) if other != i else (min(max(0, i - step), last), -1)

    def _key(self, sequence: VideoSequence, i: int, other: int) -> str:
        settings = FORMAT, cv2.__version__, self.preset, self.max_side
        return files.key(settings, identity(sequence, i), identity(sequence, other))

    def _compute(self, sequence: VideoSequence, i: int, other: int) -> np.ndarray:
        """The flow as it is kept or would be: in steps, so that it does not matter who computed it."""
        one, two = (self._grey(sequence.frame(k)) for k in (i, other))
        if one.shape != two.shape:
            raise BadInput(
                f"the frames of {sequence.name} differ in size: there is no flow between {sequence.frame_ids[i]} "
                f"and {sequence.frame_ids[other]}; bring them to one size"
            )
        return _steps(between(one, two, self.preset))

    def _grey(self, frame: np.ndarray) -> np.ndarray:
        return grey(frame, self.max_side)


def grey(frame: np.ndarray, max_side: int) -> np.ndarray:
    """A frame (H, W, 3) uint8 RGB as flow is computed on it: (h, w) uint8, no side longer than `max_side`."""
    shades = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    scale = max_side / max(shades.shape)
    if scale >= 1:
        return shades
    return cv2.resize(shades, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def between(one: np.ndarray, two: np.ndarray, preset: Preset) -> np.ndarray:
    """DIS flow from grey picture `one` to `two`, both (H, W) uint8: (H, W, 2) float32 in pixels, x before y."""
    height, width = one.shape
    pad = (0, max(0, LEAST - height), 0, max(0, LEAST - width))
    one, two = (cv2.copyMakeBorder(shades, *pad, cv2.BORDER_REPLICATE) for shades in (one, two))
    return _dis(preset).calc(one, two, None)[:height, :width]


def _moves(sequence: VideoSequence) -> bool:
    return not sequence.still and len(sequence) > 1


def _dis(preset: Preset) -> Any:
    made = _of_thread.__dict__
    if preset not in made:
        kind = getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}")
        made[preset] = cv2.DISOpticalFlow.create(kind)
    return made[preset]


def _steps(flow: np.ndarray) -> np.ndarray:
    """Flow (H, W, 2) at half its resolution in 16-bit steps, u above v: (2h, w) uint16."""
    height, width = flow.shape[:2]
    half = flow_geometry.resample(flow.transpose(2, 0, 1), ((height + 1) // 2, (width + 1) // 2))
    steps = np.clip(np.rint(half * STEPS) + 2**15, 0, 2**16 - 1).astype(np.uint16)
    return steps.reshape(-1, steps.shape[-1])


def _vectors(steps: np.ndarray) -> np.ndarray:
    """Steps (2h, w) → (2, h, w) float32 in pixels."""
    return ((steps.astype(np.float32) - 2**15) / STEPS).reshape(2, -1, steps.shape[1])


def _encode(steps: np.ndarray) -> bytes:
    """Steps as a 16-bit PNG: smooth fields compress well so."""
    return cv2.imencode(".png", steps)[1].tobytes()


def _decode(content: bytes) -> np.ndarray | None:
    """The steps that `_encode` wrote; None if this is something else."""
    try:
        with Image.open(io.BytesIO(content)) as image:  # unlike OpenCV, Pillow refuses a file cut short
            steps = np.asarray(image, np.uint16)
    except (OSError, SyntaxError, ValueError):
        return None
    return steps if steps.ndim == 2 and len(steps) % 2 == 0 else None
