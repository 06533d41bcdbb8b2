"""What a sequence is: the one type that every source yields and everything after it reads. No torch here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from davis_exp.data.masks import Mask, MaskReader
from davis_exp.data.resizing import halved


class VideoSequence(ABC):
    """An ordered run of frames of one scene, with masks where the data set is labelled.

    Attributes:
        name: the sequence's name, unique in its data set ("blackswan").
        index: the data set's global integer index of each frame; results are named by it.
        frame_ids: one id per frame, "<name>/<stem>" ("blackswan/00000").
        labelled: whether `mask` works, of any frame.
        annotated: places of the frames that have a mask: of a labelled sequence all, unless it says otherwise.
        still: whether the frames are made from a single picture: how they move then tells nothing.
        mask_reader: how mask files are read, where the masks are files.
    """

    name: str
    index: tuple[int, ...]
    frame_ids: tuple[str, ...]
    labelled: bool
    still: bool = False
    mask_reader: MaskReader = MaskReader()

    @property
    def annotated(self) -> tuple[int, ...]:
        return tuple(range(len(self))) if self.labelled else ()

    def __len__(self) -> int:
        return len(self.index)

    @property
    @abstractmethod
    def key(self) -> str:
        """What identifies the *content* (a folder, a generator's settings): equal keys are the same clip."""

    @property
    def identity(self) -> str:
        """What a checkpoint remembers the clip by: the same wherever it lies and at every resolution."""
        return f"{self.name}, {len(self)} frames"

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of the sequence's first frame, read from its header."""

    @abstractmethod
    def frame(self, i: int) -> np.ndarray:
        """Frame `i` of this sequence: (H, W, 3) uint8 RGB. Raises BadInput naming the file if unreadable."""

    def reduced(self, i: int, halvings: int) -> np.ndarray:
        """Frame `i` with both sides halved so often (upwards), by averaging; some can decode it so, and faster."""
        return halved(self.frame(i), halvings)

    @abstractmethod
    def mask(self, i: int) -> np.ndarray:
        """Mask of frame `i`: (H, W) uint8, 1 = foreground. Raises BadInput if it has none, or none that is readable."""

    def annotation(self, i: int) -> Mask:
        """As `mask`, with what its annotator left open; of a size that was not compared with the frame's."""
        return Mask(self.mask(i), None, "binary")

    def frame_file(self, i: int) -> Path | None:
        """The image file that holds frame `i`, if one does: to copy it without encoding it again."""
        return None

    def mask_files(self, i: int) -> tuple[Path, ...]:
        """The image files that the mask of frame `i` is read from, if any are."""
        return ()

    def files(self) -> Iterator[Path]:
        """The files that its frames and masks are made of; none where they are generated."""
        for i in range(len(self)):
            file = self.frame_file(i)
            yield from () if file is None else (file,)
            yield from self.mask_files(i)

    def over(self, change: Callable[["VideoSequence"], "VideoSequence"]) -> "VideoSequence":
        """This sequence with what its pictures are read from changed: itself, unless it is made of another."""
        return change(self)

    def variant(self, seed: tuple[int, ...]) -> "VideoSequence":
        """The sequence with other random motion, decided by `seed`, where its motion is made; else itself."""
        return self


class Picked(VideoSequence):
    """The frames of another sequence at `places` alone, as if there were no others."""

    def __init__(self, original: VideoSequence, places: Iterable[int]) -> None:
        self.original, self.places = original, tuple(places)
        self.name, self.labelled, self.still = original.name, original.labelled, original.still
        self.mask_reader = original.mask_reader
        self.index = tuple(original.index[i] for i in self.places)
        self.frame_ids = tuple(original.frame_ids[i] for i in self.places)

    @property
    def annotated(self) -> tuple[int, ...]:
        there = set(self.original.annotated)
        return tuple(i for i, place in enumerate(self.places) if place in there)

    @property
    def key(self) -> str:
        return self.original.key

    @property
    def size(self) -> tuple[int, int]:
        return self.original.size

    def frame(self, i: int) -> np.ndarray:
        return self.original.frame(self.places[i])

    def mask(self, i: int) -> np.ndarray:
        return self.original.mask(self.places[i])

    def annotation(self, i: int) -> Mask:
        return self.original.annotation(self.places[i])

    def frame_file(self, i: int) -> Path | None:
        return self.original.frame_file(self.places[i])

    def mask_files(self, i: int) -> tuple[Path, ...]:
        return self.original.mask_files(self.places[i])


def with_masks(sequence: VideoSequence) -> VideoSequence:
    """The sequence without the frames that have no mask; as it is where it has none at all."""
    places = sequence.annotated
    return sequence if len(places) in (0, len(sequence)) else Picked(sequence, places)


def mask_or_empty(sequence: VideoSequence, i: int) -> np.ndarray:
    """The mask of frame `i`, (H, W) uint8 in {0, 1}; all background where it has none."""
    return sequence.mask(i) if i in sequence.annotated else np.zeros(sequence.size, np.uint8)


@dataclass(frozen=True)
class Part:
    """Sequences to train on.

    Attributes:
        sequences: all labelled.
        weight: their share of the training clips, relative to the other parts'.
        validates: whether clips of these may be held out.
    """

    sequences: list[VideoSequence]
    weight: float = 1.0
    validates: bool = True


class Source(ABC):
    """A data set: yields sequences for the two stages of an experiment."""

    @abstractmethod
    def sequences(self, stage: str) -> list[VideoSequence]:
        """All sequences of `stage`, "train" or "test", in the data set's own order.

        Each stage is indexed on its own, from 0 on. Raises BadInput if the data is not there.
        """

    def parts(self) -> list[Part]:
        """The train stage, its sequences grouped by how often they are drawn. Raises as `sequences` does."""
        return [Part(self.sequences("train"))]
