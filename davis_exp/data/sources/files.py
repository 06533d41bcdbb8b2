"""Sequences whose frames and masks are image files: what every on-disk layout shares."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from davis_exp.data.frames import image_size, read_frame
from davis_exp.data.masks import Mask, MaskReader
from davis_exp.data.sequences import VideoSequence
from davis_exp.utils.errors import BadInput


class FileSequence(VideoSequence):
    """A sequence of image files.

    Args:
        name: the sequence's name.
        key: what identifies its content, the same for every resolution of one data set.
        frames: one image file per frame, in order.
        masks: as many mask files, None for a frame without one; or None where the sequence is unlabelled.
        first: global index of the first frame, or one index per frame.
        reader: how the masks are to be read.
    """

    def __init__(
        self,
        name: str,
        key: str,
        frames: Sequence[Path],
        masks: Sequence[Path | None] | None,
        first: int | Sequence[int] = 0,
        reader: MaskReader | None = None,
    ) -> None:
        self.name = name
        self.frames = tuple(frames)
        self.masks = None if masks is None else tuple(masks)
        self.index = tuple(range(first, first + len(frames)) if isinstance(first, int) else first)
        self.frame_ids = tuple(f"{name}/{path.stem}" for path in frames)
        self._annotated = tuple(i for i, mask in enumerate(masks or ()) if mask is not None)
        self.labelled = bool(self._annotated)
        self.mask_reader: MaskReader = reader or MaskReader()
        self._key = key
        self._sizes: dict[int, tuple[int, int]] = {}  # of the frames that were asked for theirs

    @property
    def annotated(self) -> tuple[int, ...]:
        return self._annotated

    @property
    def key(self) -> str:
        return self._key

    @property
    def size(self) -> tuple[int, int]:
        return self._size(0)

    def _size(self, i: int) -> tuple[int, int]:
        """(height, width) of frame `i`; its file is opened once for that."""
        if i not in self._sizes:
            self._sizes[i] = image_size(self.frames[i])
        return self._sizes[i]

    def frame(self, i: int) -> np.ndarray:
        return read_frame(self.frames[i])

    def reduced(self, i: int, halvings: int) -> np.ndarray:
        return read_frame(self.frames[i], halvings)

    def mask(self, i: int) -> np.ndarray:
        mask, expected = self.annotation(i).inside, self._size(i)
        if mask.shape != expected:
            raise BadInput(
                f"{self.mask_files(i)[0]} is {mask.shape[0]}x{mask.shape[1]} but its frame {self.frames[i]} is "
                f"{expected[0]}x{expected[1]}: masks must have their frame's size"
            )
        return mask

    def annotation(self, i: int) -> Mask:
        files = self.mask_files(i)
        if not files:
            raise BadInput(f"{self.name} has no annotations ({self.frames[i]}): use labelled data for this")
        return self.mask_reader.read(files[0])

    def frame_file(self, i: int) -> Path:
        return self.frames[i]

    def mask_files(self, i: int) -> tuple[Path, ...]:
        mask = None if self.masks is None else self.masks[i]
        return () if mask is None else (mask,)
