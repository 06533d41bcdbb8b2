"""Small files kept between runs, found again by what they were computed from."""

import hashlib
import logging
import os
import threading
from pathlib import Path

from davis_exp import __version__
from davis_exp.data.sequences import Sequence
from davis_exp.errors import BadInput

log = logging.getLogger(__name__)

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

    def write(self, key: str, content: bytes) -> None:
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


def identity(sequence: Sequence, i: int) -> object:
    """What frame `i` is, for `key`: its file's bytes, or, without a file, what the sequence says of itself.

    Raises BadInput for a file that cannot be read.
    """
    path = sequence.frame_file(i)
    if path is None:
        # A still's key leaves out how it is made to move.
        return (
            sequence.frame(i).tobytes() if sequence.still else (__version__, sequence.key, sequence.size, i)
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"frame {path} cannot be read ({error}): restore the file") from error


def default_folder(name: str) -> Path:
    """Where results of kind `name` are kept unless the config says: below $DAVIS_EXP_CACHE or ~/.cache."""
    root = os.environ.get("DAVIS_EXP_CACHE")
    return Path(root or "~/.cache/davis_exp").expanduser() / name
