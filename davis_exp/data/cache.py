"""Small files kept between runs, found again by what they were computed from."""

import contextlib
import hashlib
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Collection
from pathlib import Path

from davis_exp.data.pictures import content_of
from davis_exp.data.sequences import VideoSequence
from davis_exp.utils.errors import BadInput
from davis_exp.utils.version import __version__

log = logging.getLogger(__name__)

READ = 2  # of how frames are read; another number makes all that was computed from them unknown
ABANDONED = 3600.0  # seconds after which an entry half written is that of a process killed meanwhile

_complained: set[Path] = set()  # folders that could not be written to: each is reported once


class FileCache:
    """Bytes by key in a folder. Entries are written beside their place and moved there, so that there is
    never half of one, whoever is killed or writes the same at the same time.

    A folder that cannot be written to (read-only, full) is reported once and then does without.

    Args:
        folder: made when it is first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def __contains__(self, key: str) -> bool:
        return self.path(key).is_file()

    def read(self, key: str) -> bytes | None:
        """What was written at `key`; None where nothing was, or where it cannot be read."""
        try:
            return self.path(key).read_bytes()
        except OSError:
            return None

    def use(self, key: str) -> None:
        """Count the entry at `key` as used now, for `trim`."""
        with contextlib.suppress(OSError):  # gone, or another user's
            os.utime(self.path(key))

    def trim(self, limit: int, spared: Collection[str] = ()) -> None:
        """Remove entries, the longest unused first, until the folder holds `limit` bytes at most.

        Those of the keys `spared` count, but stay. A file that is still mapped into memory lives on in there.
        """
        kept = {self.path(key) for key in spared}
        found = []
        for path in self.folder.glob("*/*"):
            try:
                about = path.stat()
                if path.name.startswith("."):  # being written, or abandoned
                    if time.time() - about.st_mtime > ABANDONED:
                        path.unlink()
                    continue
            except OSError:  # another process was faster
                continue
            found.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= limit:
                return
            if path not in kept:
                path.unlink(missing_ok=True)
                total -= size

    def write(self, key: str, content: bytes | memoryview) -> None:
        path = self.path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            if self.folder not in _complained:
                _complained.add(self.folder)
                log.warning("nothing can be kept in %s (%s): it is computed each time", self.folder, error)


def key(*ingredients: object) -> str:
    """A key for what is computed from `ingredients`: plain values, or bytes (hashed whole)."""
    digest = hashlib.blake2b(digest_size=20)
    for ingredient in ingredients:
        content = ingredient if isinstance(ingredient, bytes) else repr(ingredient).encode()
        digest.update(len(content).to_bytes(8, "little"))  # so that no two lists run together alike
        digest.update(content)
    return digest.hexdigest()


def identity(sequence: VideoSequence, i: int) -> object:
    """What frame `i` is, for `key`: a digest of its file's bytes, or, without a file, what the sequence says of itself.

    Raises BadInput for a file that cannot be read.
    """
    path = sequence.frame_file(i)
    if path is None:
        # A still's key leaves out how it is made to move.
        return (
            sequence.frame(i).tobytes() if sequence.still else (__version__, sequence.key, sequence.size, i)
        )
    return key(READ, content_of(path, "frame"))


def mask_identity(sequence: VideoSequence, i: int) -> object:
    """What the mask of frame `i` is, as `identity`, and how it is read; without a file it goes with its frame."""
    files = [content_of(path, "mask") for path in sequence.mask_files(i)]
    return key(sequence.mask_reader, *files) if files else i in sequence.annotated


def default_folder(name: str) -> Path:
    """Where results of kind `name` are kept unless the config says: below $DAVIS_EXP_CACHE or ~/.cache."""
    root = os.environ.get("DAVIS_EXP_CACHE")
    return Path(root or "~/.cache/davis_exp").expanduser() / name


def usage(folder: Path) -> tuple[int, int]:
    """How many files there are below `folder`, and their bytes; what goes meanwhile does not count."""
    files = size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            about = path.lstat()
            if not stat.S_ISDIR(about.st_mode):
                files, size = files + 1, size + about.st_size
    return files, size


def clear(folder: Path) -> None:
    """Remove what is in `folder`, which stays: it may be a link to another disk. Raises BadInput where that fails."""
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(
            f"{error.filename or folder} cannot be removed: {error.strerror}; try again"
        ) from error
