"""Features of a frozen encoder, computed once and kept: training then costs the decoder alone."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from davis_exp.data import cache as files
from davis_exp.data.flow import identity
from davis_exp.data.sequences import VideoSequence, mask_or_empty
from davis_exp.utils.errors import BadInput

log = logging.getLogger(__name__)

Encode = Callable[[Tensor], list[Tensor]]
"""Frames (1, T, 3, H, W) in [0, 1] → one (1, T, C, h, w) per level."""


class FeatureStore:
    """What an encoder makes of every frame of some sequences, in half precision on disk.

    A sequence has one file per level, (frames, C, h, w) float16, which is memory-mapped: only what is asked for is
    read. The files are found again by the frames' content, their size and `digest`.

    Args:
        encode: the frozen encoder.
        digest: identifies the encoder with its weights.
        size: (height, width) that frames are brought to.
        folder: where to keep them; None for features/ below $DAVIS_EXP_CACHE or ~/.cache/davis_exp.
    """

    def __init__(
        self, encode: Encode, digest: str, size: tuple[int, int], folder: Path | None = None
    ) -> None:
        self.encode, self.digest, self.size = encode, digest, size
        self.folder = folder or files.default_folder("features")
        self._open: dict[str, list[np.ndarray]] = {}  # by the sequence's key

    def prepare(self, sequences: Iterable[VideoSequence]) -> None:
        """Compute what is missing. Raises BadInput for unreadable frames, or a folder that cannot be written."""
        missing = [
            (sequence, place) for sequence in sequences if not (place := self._place(sequence)).is_dir()
        ]
        if missing:
            log.info("computing features of %d clips, to be kept in %s", len(missing), self.folder)
        for sequence, place in missing:
            self._write(sequence, place)

    def clip(self, sequence: VideoSequence, indices: list[int]) -> dict[str, Any]:
        """These frames, prepared before: "features", one (T, C, h, w) float16 per level, and "masks" (T, 1, H, W)."""
        masks = [
            cv2.resize(mask_or_empty(sequence, i), self.size[::-1], interpolation=cv2.INTER_NEAREST)
            for i in indices
        ]
        return {
            "features": self._features(sequence, indices),
            "masks": torch.from_numpy(np.stack(masks)[:, None]),
        }

    def _features(self, sequence: VideoSequence, indices: list[int]) -> list[Tensor]:
        if sequence.key not in self._open:
            place = self._place(sequence)
            files_of_levels = sorted(place.glob("*.npy"), key=lambda path: int(path.stem))
            if not files_of_levels:
                raise BadInput(
                    f"features of {sequence.name} are gone from {place}: run again to compute them"
                )
            self._open[sequence.key] = [np.load(path, mmap_mode="r") for path in files_of_levels]
        return [torch.from_numpy(np.ascontiguousarray(level[indices])) for level in self._open[sequence.key]]

    def _place(self, sequence: VideoSequence) -> Path:
        content = (identity(sequence, i) for i in range(len(sequence)))
        return self.folder / files.key(self.digest, self.size, *content)

    def _write(self, sequence: VideoSequence, place: Path) -> None:
        part = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            part.mkdir(parents=True, exist_ok=True)
            levels: list[np.ndarray] = []
            for i in range(len(sequence)):
                with torch.inference_mode():
                    made = self.encode(self._frame(sequence, i))
                if not levels:
                    levels = [
                        np.lib.format.open_memmap(
                            part / f"{k}.npy", "w+", np.float16, (len(sequence), *level.shape[2:])
                        )
                        for k, level in enumerate(made)
                    ]
                for kept, level in zip(levels, made, strict=True):
                    kept[i] = level[0, 0].half().cpu().numpy()
            del levels  # flushed
            part.replace(place)
        except OSError as error:
            if not place.is_dir():  # else another process was faster
                raise BadInput(
                    f"features cannot be kept in {self.folder} ({error}): set DAVIS_EXP_CACHE"
                ) from error

    def _frame(self, sequence: VideoSequence, i: int) -> Tensor:
        frame = cv2.resize(sequence.frame(i), self.size[::-1], interpolation=cv2.INTER_AREA)
        return torch.from_numpy(frame).permute(2, 0, 1)[None, None].float() / 255
