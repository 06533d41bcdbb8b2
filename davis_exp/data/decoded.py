"""Frames, masks and flow decoded once and mapped into memory: reading a clip then costs next to nothing.

Frames are kept as large as training needs them, not larger: see `DecodedStore.size`. Whatever is kept is found again
by the content it was made from, by the settings and by the version of what made it.
"""

import itertools
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from davis_exp.data import cache as files
from davis_exp.data.flow import STEPS, MotionSource
from davis_exp.data.mapped import DiskArrays, Mapped, MemoryArrays
from davis_exp.data.sequences import VideoSequence, mask_or_empty
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import ordered
from davis_exp.utils.progress import progress_bar
from davis_exp.utils.version import __version__

log = logging.getLogger(__name__)

FORMAT = 2  # of what is kept; another number makes all that was kept before unknown
GB = 10**9


class DecodedSequence(VideoSequence):
    """`original` with its frames and masks at `size`, read from `pixels`: (frames, 4·H·W) uint8, RGB and then mask.

    What is said of files is said of the original's.
    """

    def __init__(
        self, original: VideoSequence, size: tuple[int, int], pixels: Mapped, vectors: Mapped | None
    ) -> None:
        self.original, self._size, self._pixels, self._vectors = original, size, pixels, vectors
        self.name, self.index, self.frame_ids = original.name, original.index, original.frame_ids
        self.labelled, self.still, self.mask_reader = original.labelled, original.still, original.mask_reader
        self._ends = 3 * size[0] * size[1]  # of a frame

    @property
    def annotated(self) -> tuple[int, ...]:
        return self.original.annotated

    @property
    def key(self) -> str:
        return self.original.key

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def frame(self, i: int) -> np.ndarray:
        return self._pixels[i][: self._ends].reshape(*self._size, 3)

    def mask(self, i: int) -> np.ndarray:
        if i not in self.annotated:
            return self.original.mask(i)  # refuses
        return self._pixels[i][self._ends :].reshape(self._size)

    def frame_file(self, i: int) -> Path | None:
        return self.original.frame_file(i)

    def mask_files(self, i: int) -> tuple[Path, ...]:
        return self.original.mask_files(i)

    def vectors(self, i: int) -> np.ndarray | None:
        """Flow at frame `i`, as `MotionSource.vectors`; None where none was kept."""
        return None if self._vectors is None else self._vectors[i].astype(np.float32) / STEPS


class DecodedMotion(MotionSource):
    """`motion`, read from decoded sequences where they hold it.

    Never computed from decoded frames: those may be smaller than what other runs would compute from.
    """

    def __init__(self, motion: MotionSource) -> None:
        self.motion = motion

    def vectors(self, sequence: VideoSequence, i: int, gap: int | None = None) -> np.ndarray | None:
        if not isinstance(sequence, DecodedSequence):
            return self.motion.vectors(sequence, i, gap)
        kept = sequence.vectors(i) if gap is None else None
        return self.motion.vectors(sequence.original, i, gap) if kept is None else kept


@dataclass(frozen=True)
class _Plan:
    """What is to be kept of one sequence."""

    sequence: VideoSequence
    size: tuple[int, int]  # of its frames
    grid: tuple[int, ...] | None  # (2, h, w): of its flow, if that is kept

    @property
    def bytes(self) -> int:
        flow = 0 if self.grid is None else 2 * math.prod(self.grid)
        return len(self.sequence) * (4 * math.prod(self.size) + flow)


class DecodedStore:
    """Keeps sequences decoded, in memory for one run or on disk for all.

    Entries on disk are whole or absent, whoever is killed while writing; those longest unused make room for new ones.
    Flow is kept exactly, in `flow.STEPS` of a pixel. Frames are made smaller by area; so are masks, then rounded.

    Args:
        where: "ram", gone with the process (Linux only); or "disk".
        limit: bytes that may be kept; sequences that no longer fit are decoded each time.
        size: (height, width) that frames must fill to be as sharp as training needs them: larger ones are kept at the
            smallest size that does. None keeps frames as they are.
        motion: whose flow is kept too.
        folder: for "disk"; None for decoded/ below $DAVIS_EXP_CACHE or ~/.cache/davis_exp.

    Raises:
        BadInput: "ram" on a system that has no files in memory.
    """

    def __init__(
        self,
        where: str,
        limit: int,
        size: tuple[int, int] | None,
        motion: MotionSource | None = None,
        folder: Path | None = None,
    ) -> None:
        self.limit, self.size, self.motion = limit, size, motion
        self._arrays = (
            DiskArrays(folder or files.default_folder("decoded"), limit)
            if where == "disk"
            else MemoryArrays()
        )

    def keep(self, sequences: Iterable[VideoSequence]) -> list[VideoSequence]:
        """The sequences, decoded where they fit; what is missing is decoded now. Raises BadInput as frames do."""
        sequences = list(sequences)
        pictures: list[VideoSequence] = []

        def note(picture: VideoSequence) -> VideoSequence:
            pictures.append(picture)
            return picture

        for sequence in sequences:
            sequence.over(note)
        decoded = self._decoded(self._fitting([self._plan(picture) for picture in pictures]))
        return [sequence.over(lambda picture: decoded.get(id(picture), picture)) for sequence in sequences]

    def _plan(self, sequence: VideoSequence) -> _Plan:
        height, width = sequence.size
        if self.size is not None:
            scale = max(self.size[0] / height, self.size[1] / width)
            if scale < 1:
                height, width = math.ceil(height * scale), math.ceil(width * scale)
        first = None
        if self.motion is not None and self.motion.identity(sequence, 0) is not None:
            first = self.motion.vectors(sequence, 0)
        return _Plan(sequence, (height, width), None if first is None else first.shape)

    def _fitting(self, plans: list[_Plan]) -> list[_Plan]:
        fits, room = [], self.limit
        for plan in plans:
            if plan.bytes <= room:
                fits.append(plan)
                room -= plan.bytes
        if len(fits) < len(plans):
            log.warning(
                "data.cache_gb=%g holds %d of %d clips; the others are decoded each time (all of them: "
                "data.cache_gb=%.1f)",
                self.limit / GB,
                len(fits),
                len(plans),
                math.ceil(sum(plan.bytes for plan in plans) / GB * 10) / 10,
            )
        return fits

    def _decoded(self, plans: list[_Plan]) -> dict[int, VideoSequence]:
        """By the original's id."""
        threads = os.cpu_count() or 2
        keys = dict(zip(map(id, plans), ordered(self._keys, plans, len(plans), threads), strict=True))
        missing = [plan for plan in plans if not all(key in self._arrays for key in keys[id(plan)])]
        if missing:
            size = sum(plan.bytes for plan in missing)
            log.info("decoding %d clips, %.2f GB to be kept %s", len(missing), size / GB, self._arrays)
            self._arrays.make_room(size, list(itertools.chain(*keys.values())))

        def open_(plan: _Plan) -> tuple[int, VideoSequence]:
            return id(plan.sequence), self._open(plan, *keys[id(plan)])

        # Two processes that start at once begin in different places, and find what the other has done.
        start = os.getpid() % max(1, len(plans))
        with progress_bar("decoding") as progress:
            jobs = [*plans[start:], *plans[:start]]
            return dict(ordered(open_, jobs, len(jobs), threads, progress if missing else None))

    def _keys(self, plan: _Plan) -> tuple[str, ...]:
        """Of what is kept: pixels, and flow if it is."""
        sequence = plan.sequence
        frames = range(len(sequence))
        of_frames = (files.key(files.identity(sequence, i), files.mask_identity(sequence, i)) for i in frames)
        keys = [files.key(FORMAT, __version__, cv2.__version__, plan.size, *of_frames)]
        if plan.grid is not None:
            assert self.motion is not None
            of_flow = (files.key(self.motion.identity(sequence, i)) for i in frames)
            keys.append(files.key(FORMAT, __version__, "flow", plan.grid, *of_flow))
        return tuple(keys)

    def _open(self, plan: _Plan, key: str, flow_key: str | None = None) -> VideoSequence:
        sequence = plan.sequence

        def pixels(i: int) -> list[np.ndarray]:
            frame = sequence.frame(i)
            if frame.shape[:2] != sequence.size:
                raise BadInput(
                    f"the frames of {sequence.name} differ in size: bring them to one size, or split the clip"
                )
            mask = mask_or_empty(sequence, i)
            return [_smaller(frame, plan.size), _smaller(mask * np.uint8(255), plan.size) >> 7]

        def vectors(i: int) -> list[np.ndarray]:
            assert self.motion is not None
            found = self.motion.vectors(sequence, i)
            assert found is not None
            return [np.rint(found * STEPS).clip(-(2**15), 2**15 - 1).astype(np.int16)]

        count = len(sequence)
        kept = self._arrays.get(key, (count, 4 * math.prod(plan.size)), np.uint8, pixels)
        if kept is None:
            return sequence
        flow = None
        if plan.grid is not None:
            flow = self._arrays.get(flow_key or "", (count, *plan.grid), np.int16, vectors)
        return DecodedSequence(sequence, plan.size, kept, flow)


def _smaller(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.shape[:2] == size:
        return picture
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
