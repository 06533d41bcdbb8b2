"""Files and folders that appear when they are whole: written beside their place, then renamed into it."""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PART = ".part"  # in the name of what is not whole yet


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write a file at; it takes `path`'s place when the block ends well.

    On any error, a kill or a full disk whatever was at `path` stays whole. The temporary name keeps the suffix, which
    some libraries go by. What earlier writers of `path` were killed over is swept away. Folders above are made. A link
    stays one, and what is no file (a pipe, /dev/null) is written to itself.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _part(path, folder=False) as part:
        yield part
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path, *, beside: bool = False) -> Iterator[Path]:
    """As `atomic_file`, for a folder to fill; one that is at `path` already is replaced as a whole.

    With `beside`, what is in it stays beside what is new, of which each file and folder takes the place of its old one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _part(path, folder=True) as part:
        yield part
        if beside and path.is_dir() and any(path.iterdir()):
            for new in list(part.iterdir()):
                if new.is_dir():
                    put_in_place(new, path / new.name)
                else:
                    os.replace(new, path / new.name)
        else:
            put_in_place(part, path)


def put_in_place(part: Path, path: Path) -> None:
    """Rename the folder `part` to `path`; what is there is kept until then, and removed after."""
    old = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}.old")
    replaced = path.exists()
    if replaced:
        os.rename(path, old)
    try:
        os.rename(part, path)
    except OSError:
        if replaced:
            os.rename(old, path)
        raise
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """A whole file, or the one before it."""
    with atomic_file(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """As `write_text`: JSON that any reader takes (no NaN)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def sweep_parts(path: Path) -> None:
    """Remove what writers of `path` that were killed have left beside it; what is being written stays.

    A folder whose writer died between the two renames of `put_in_place` is put back.
    """
    for part in path.parent.glob(f".{_escaped(path.name)}.*{PART}*"):
        with contextlib.suppress(OSError):
            handle = os.open(part, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its writer holds it as long as it lives
                if part.name.endswith(".old") and not path.exists():
                    os.rename(part, path)
                elif part.is_dir():
                    shutil.rmtree(part)
                else:
                    part.unlink()
            finally:
                os.close(handle)


def sweep_folder(folder: Path) -> None:
    """`sweep_parts` of everything that lies in `folder`."""
    for part in folder.glob(f".*{PART}*"):
        if named := re.fullmatch(rf"\.(.+)\.[0-9a-f]{{8}}{re.escape(PART)}(\..*)?", part.name):
            sweep_parts(part.with_name(named[1]))


@contextlib.contextmanager
def _part(path: Path, folder: bool) -> Iterator[Path]:
    """A new temporary file or folder beside `path`, locked while the block lasts, and gone after it."""
    sweep_parts(path)
    handle, part = locked_part(path, folder)
    try:
        yield part
    finally:
        os.close(handle)
        if folder:
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def locked_part(path: Path, folder: bool) -> tuple[int, Path]:
    """A new temporary file or folder beside `path`, and the open descriptor that keeps it from being swept away."""
    while True:
        suffix = "" if folder else path.suffix
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}{suffix}")
        if folder:
            part.mkdir()
            handle = os.open(part, os.O_RDONLY)
        else:
            handle = os.open(part, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if part.exists():  # another's sweep may have come between the two
            return handle, part
        os.close(handle)


def _sync(path: Path) -> None:
    """Have what `path` holds on the disk, so that a rename never shows an empty file after a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
