"""Writing results: whole or not at all."""

import json
import os
import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data import png
from davis_exp.results.reader import METADATA, OUTPUTS, PATHS
from davis_exp.utils import written
from davis_exp.utils.errors import BadInput


def to_confidence(values: np.ndarray) -> np.ndarray:
    """Confidences as the judge reads them: (H, W) uint8, a copy.

    Floats are probabilities: clipped to [0, 1] and rounded, so that 0.5 becomes 128, foreground; uint8 is
    taken as it is. Raises BadInput for other types and shapes, and for NaN.
    """
    if values.ndim != 2:
        raise BadInput(f"a confidence map is (H, W), not {values.shape}")
    if values.dtype == np.uint8:
        return values.copy()
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(values.dtype, np.floating):
        raise BadInput(f"a confidence map is floats in [0, 1] or uint8, not {values.dtype}")
    scaled = np.rint(np.clip(values.astype(np.float32, copy=False), 0, 1) * 255)
    if np.isnan(scaled).any():
        raise BadInput("a confidence map holds NaN: the model's output is broken")
    return scaled.astype(np.uint8)


class ResultsWriter:
    """Writes results to a temporary folder beside `folder`, which `close` puts in its place.

    Masks are encoded and written by `threads` threads; `add` waits when they fall behind, so memory stays
    flat. As a context manager it aborts on an exception; `close` must be called either way.

    Several processes may write parts of the same results: those after the first are given its `part`, and hand it
    what they have `written`, to `include` before it closes. Theirs need no closing.
    """

    def __init__(self, folder: Path, *, threads: int = 2, part: Path | None = None) -> None:
        """Raises BadInput if `folder` is there and is no results folder: it would be replaced."""
        self.folder = Path(folder)
        self._own = part is None
        self._lock: int | None = None  # held on the temporary folder: it is not to be swept away
        if part is None:
            if self.folder.exists() and not _replaceable(self.folder):
                raise BadInput(f"{self.folder} is there and holds no results: refusing to replace it")
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            written.sweep_parts(self.folder)  # of writers that were killed
            self._lock, part = written.locked_part(self.folder, folder=True)
            (part / OUTPUTS).mkdir()
        self.part = part  # the temporary folder
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="results")
        self._slots = threading.BoundedSemaphore(4 * threads)
        self._writes: list[Future[None]] = []
        self._frames: dict[int, str] = {}

    def __enter__(self) -> "ResultsWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abort()

    def add(self, index: int, confidence: np.ndarray, frame_id: str) -> None:
        """Write the mask of the frame with this index: (H, W), floats in [0, 1] or uint8.

        Raises BadInput for a map that `to_confidence` refuses, or an index that was added before.
        """
        if index in self._frames or index < 0:
            raise BadInput(f"index {index} ({frame_id}) was added twice or is negative")
        try:
            image = to_confidence(confidence)
        except BadInput as error:
            raise BadInput(f"{frame_id}: {error}") from None
        self._frames[index] = frame_id
        self._slots.acquire()
        write = self._pool.submit(self._write, self.part / _output(index), image)
        write.add_done_callback(lambda _: self._slots.release())
        self._writes = [pending for pending in self._writes if not pending.done() or pending.exception()]
        self._writes.append(write)

    def written(self) -> dict[int, str]:
        """The id of each frame, by index, once their files are there."""
        for write in self._writes:
            write.result()
        return dict(self._frames)

    def include(self, written: dict[int, str]) -> None:
        """Count in what another process has written to our `part`. Raises BadInput for an index that is there twice."""
        if twice := self._frames.keys() & written.keys():
            raise BadInput(f"index {min(twice)} ({written[min(twice)]}) was added twice")
        self._frames |= written

    def close(self, metadata: dict[str, Any]) -> Path:
        """Finish all files and move the folder into place, replacing an older one; returns the folder.

        `metadata` is written to metadata.json with `frames`, the frame ids in index order.
        """
        try:
            indices = sorted(self.written())
            self._pool.shutdown()
            paths = {"output": {str(index): _output(index) for index in indices}}
            frames = {"frames": [self._frames[index] for index in indices]}
            (self.part / PATHS).write_text(json.dumps(paths, indent=1) + "\n", encoding="utf-8")
            text = json.dumps({**metadata, **frames}, indent=1)
            (self.part / METADATA).write_text(text + "\n", encoding="utf-8")
            written.put_in_place(self.part, self.folder)
            self._release()
        except BaseException:
            self.abort()
            raise
        return self.folder

    def abort(self) -> None:
        """Throw away what was written; an older folder stays as it is."""
        self._pool.shutdown(cancel_futures=True)
        if self._own:
            shutil.rmtree(self.part, ignore_errors=True)
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @staticmethod
    def _write(path: Path, image: np.ndarray) -> None:
        path.write_bytes(png.encode(image))


def _output(index: int) -> str:
    return f"{OUTPUTS}/{index:05d}.png"


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / PATHS).is_file() or not any(folder.iterdir()))
