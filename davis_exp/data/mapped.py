"""Arrays by key, on disk or in memory, mapped into the memory of all processes that read them."""

import math
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data.cache import FileCache
from davis_exp.utils.errors import BadInput

Make = Callable[[int], list[np.ndarray]]
"""The parts of row i, of any shapes; they are laid one after the other."""


class Mapped:
    """An array in a file. Sent to another process, it is mapped there too, not copied."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type[np.generic], offset: int = 0) -> None:
        self.path, self.shape, self.dtype, self.offset = path, shape, dtype, offset
        self._array = self._map()  # now: a file that is removed later stays readable

    def __getitem__(self, i: int) -> np.ndarray:
        """Row `i`: a view, not to be written to."""
        return self._array[i]

    def _map(self) -> np.ndarray:
        # A plain array on top: those of class memmap are slow to index.
        return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, self.shape))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_array"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._array = self._map()


class Arrays(ABC):
    """Arrays by key. Several threads may ask at once."""

    @abstractmethod
    def __contains__(self, key: str) -> bool: ...

    @abstractmethod
    def get(self, key: str, shape: tuple[int, ...], dtype: type[np.generic], make: Make) -> Mapped | None:
        """The array at `key`, made row by row where there is none; None where it cannot be kept."""

    def make_room(self, size: int, spared: Collection[str]) -> None:  # noqa: B027  # disks alone remember
        """Prepare for `size` more bytes, leaving the arrays of the keys `spared`."""


class DiskArrays(Arrays):
    """Arrays in a folder, `limit` bytes of them, for this process and later ones. They are whole or absent."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._files, self._limit = FileCache(folder), limit

    def __str__(self) -> str:
        return f"in {self._files.folder}"

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def make_room(self, size: int, spared: Collection[str]) -> None:
        self._files.trim(self._limit - size, spared)

    def get(self, key: str, shape: tuple[int, ...], dtype: type[np.generic], make: Make) -> Mapped | None:
        kept = self._map(key, shape, dtype)
        if kept is None:
            self._files.write(key, _filled(shape, dtype, make).data)
            kept = self._map(key, shape, dtype)
        return kept

    def _map(self, key: str, shape: tuple[int, ...], dtype: type[np.generic]) -> Mapped | None:
        path = self._files.path(key)
        try:
            if path.stat().st_size != math.prod(shape) * np.dtype(dtype).itemsize:
                return None
            kept = Mapped(path, shape, dtype)
        except OSError:
            return None
        self._files.use(key)
        return kept


class MemoryArrays(Arrays):
    """Arrays in one nameless file in memory, which goes with the last process that has it mapped.

    Unlike /dev/shm it leaves nothing behind when processes are killed, and is not small in containers.

    Raises BadInput on a system that has no such files.
    """

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise BadInput("data.cache=ram works on Linux only: set data.cache=disk")
        file = os.memfd_create("davis_exp")
        weakref.finalize(self, os.close, file)
        self._path = Path(f"/proc/{os.getpid()}/fd/{file}")  # so can other processes of ours find it
        self._end, self._lock = 0, threading.Lock()

    def __str__(self) -> str:
        return "in memory"

    def __contains__(self, key: str) -> bool:
        return False

    def get(self, key: str, shape: tuple[int, ...], dtype: type[np.generic], make: Make) -> Mapped | None:
        made = _filled(shape, dtype, make)
        with self._lock:
            offset = self._end
            self._end += made.nbytes
            with self._path.open("r+b") as file:
                file.seek(offset)
                file.write(made.data)
        return Mapped(self._path, shape, dtype, offset)


def _filled(shape: tuple[int, ...], dtype: type[np.generic], make: Make) -> np.ndarray:
    made = np.empty(shape, dtype)
    for i, row in enumerate(made.reshape(shape[0], -1)):
        np.concatenate([part.reshape(-1) for part in make(i)], out=row)
    return made
