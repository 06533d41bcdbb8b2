"""The truth, packed: read from the data set, or from a folder where an earlier scoring kept it."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from davis_exp.data.sequences import VideoSequence
from davis_exp.metrics.bits import Bits
from davis_exp.utils.errors import BadInput

READ_AS = 2  # how masks are made binary: packed ones that were kept otherwise must not be found


class Truth:
    """True masks of sequences, one frame at a time.

    With a `folder`, `prepare` keeps the packed masks of each sequence there in a file, which later scorings
    map into memory instead of decoding images; a file is left aside once its masks change. Sequences with void pixels
    are not kept.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._kept: dict[str, np.ndarray] = {}

    def prepare(self, sequences: Sequence[VideoSequence], workers: int = 2) -> None:
        """Have every sequence's masks at hand in the folder; does nothing without one.

        Raises BadInput if a mask cannot be read, or the folder cannot be written.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(workers, thread_name_prefix="truth") as pool:
                for sequence, kept in zip(sequences, pool.map(self._keep, sequences), strict=True):
                    if kept is not None:
                        self._kept[sequence.name] = kept
        except OSError as error:
            raise BadInput(f"cannot keep packed masks in {self.folder}: {error}") from error

    def annotation(self, sequence: VideoSequence, i: int) -> tuple[Bits, Bits | None]:
        """Mask of frame `i`, and which pixels are not judged, if any. Raises BadInput if unlabelled or unreadable."""
        kept = self._kept.get(sequence.name)
        if kept is not None:
            return Bits(kept[i], sequence.size[1]), None
        mask = sequence.annotation(i)
        return Bits.of(mask.inside), None if mask.void is None else Bits.of(mask.void)

    def _keep(self, sequence: VideoSequence) -> np.ndarray | None:
        """The kept masks of a sequence (N, H, ceil(W / 64)); None if its frames are not all of one size."""
        assert self.folder is not None
        height, width = sequence.size
        shape = (len(sequence), height, -(-width // 64))
        path = self.folder / f"{_stamp(sequence)}.npy"
        with suppress(OSError, ValueError, EOFError):
            kept = np.load(path, mmap_mode="r")
            if kept.shape == shape and kept.dtype == np.uint64:
                return kept
        part = path.with_suffix(f".{secrets.token_hex(4)}.part")
        try:
            packed = np.lib.format.open_memmap(part, "w+", np.uint64, shape)
            for i in range(len(sequence)):
                mask, void = self.annotation(sequence, i)
                if mask.shape != sequence.size or void is not None:
                    return None
                packed[i] = mask.words
            packed.flush()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return np.load(path, mmap_mode="r")


def _stamp(sequence: VideoSequence) -> str:
    """Digest of what a sequence's masks depend on: the files as they are now, or the generator's settings."""
    reading = READ_AS, repr(sequence.mask_reader)
    parts: list[object] = [reading, sequence.key, sequence.size, sequence.frame_ids]
    files = [(path, path.stat()) for i in range(len(sequence)) for path in sequence.mask_files(i)]
    parts.append([(str(path.resolve()), status.st_size, status.st_mtime_ns) for path, status in files])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
