"""Reading untrusted files: from a folder or a zip, by relative name, with a limit, and never outside it."""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.names import hidden

MAX_MEMBERS = 200_000
MAX_DIRECTORY = 2**25  # bytes of a zip's table of contents
END_OF_ZIP = b"PK\x05\x06"


def relative(path: object) -> str:
    """A path as written in paths.json, with forward slashes. Raises BadInput if it could leave the folder."""
    if path is None:
        raise BadInput("the path is null: every index needs a file")
    if not isinstance(path, str) or not path:
        raise BadInput(f"the path is {quoted(path) or 'empty'}, not the name of a file")
    if "/" in path and "\\" in path:
        raise BadInput(f"{quoted(path)} mixes / and \\: use one kind of slash")
    name = path.replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise BadInput(f"{quoted(path)} is an absolute path: name files relative to the folder")
    if ".." in parts:
        raise BadInput(f"{quoted(path)} leaves the folder: name files inside it, without '..'")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise BadInput(f"{quoted(path)} is no text (a lone surrogate): name files in UTF-8")
    if "" in parts or "." in parts or any(ord(c) < 32 or ord(c) == 127 for c in name) or len(name) > 1024:
        raise BadInput(f"{quoted(path)} is not a plain relative path: write it like outputs/00000.png")
    return name


class Storage(Protocol):
    """Where results lie. `read` raises FileNotFoundError, or BadInput for what must not be read."""

    def names(self) -> Iterator[str]:
        """Every file, by its relative name with forward slashes, in no order."""

    def read(self, name: str, limit: int, head: bool = False) -> bytes:
        """The whole file, or with `head` its first `limit` bytes. Raises BadInput if it is larger."""


class Folder:
    """Files under a folder; links and special files are never opened."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Iterator[str]:
        pending, seen = [""], 0
        while pending:
            below = pending.pop()
            with os.scandir(self.root / below) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MAX_MEMBERS:
                        raise BadInput(
                            f"{self.root} holds more than {MAX_MEMBERS:,} files: no results folder"
                        )
                    name = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(name)
                    else:
                        yield name

    def read(self, name: str, limit: int, head: bool = False) -> bytes:
        path = str(self.root)
        for part in name.split("/"):
            path = f"{path}/{part}"
            try:
                status = os.lstat(path)
            except OSError as error:
                raise FileNotFoundError(name) from error
            if stat.S_ISLNK(status.st_mode):
                raise BadInput(f"{quoted(name)} goes through a symbolic link: put the file itself there")
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{quoted(name)} is not a regular file")
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except PermissionError as error:
            raise BadInput(f"{quoted(name)} cannot be read: permission denied") from error
        with open(handle, "rb") as file:
            return file.read(limit if head else _allowed(status.st_size, limit, name))


class Archive:
    """Members of a zip, read in memory; one folder around everything is looked through."""

    def __init__(self, path: Path) -> None:
        _check_directory(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise BadInput(f"{path} is not a readable zip file: {error}") from error
        members = [m for m in self._zip.infolist() if not m.is_dir() and not hidden(m.filename)]
        names = [member.filename for member in members]
        prefix = _wrapper(names)
        self._members = {
            name.removeprefix(prefix): member for name, member in zip(names, members, strict=True)
        }
        if len(self._members) != len(members):
            twice = Counter(names).most_common(1)[0][0]
            raise BadInput(f"{path} holds {quoted(twice)} twice: pack the folder again")

    def names(self) -> Iterator[str]:
        return iter(self._members)

    def read(self, name: str, limit: int, head: bool = False) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise FileNotFoundError(name)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise BadInput(f"{quoted(name)} is a symbolic link: put the file itself there")
        if member.flag_bits & 1:
            raise BadInput(f"{quoted(name)} is encrypted: pack the folder without a password")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadInput(f"{quoted(name)} is packed in an unusual way: use plain zip compression")
        try:
            with self._zip.open(member) as file:  # gives no more bytes than the announced size
                return file.read(limit if head else _allowed(member.file_size, limit, name))
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
            raise BadInput(f"{quoted(name)} is damaged inside the zip: {quoted(error)}") from error


def open_storage(path: Path) -> Storage:
    """A folder or a zip file as a `Storage`. Raises BadInput if it is neither."""
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Archive(path)
    raise BadInput(f"no results at {path}: give a results folder or a zip of one")


def _wrapper(names: list[str]) -> str:
    """The folder around everything ("results/"), or nothing; `<sequence>/<frame>.png` has none around it."""
    top = names[0].partition("/")[0] + "/" if names else ""
    wrapped = f"{top}paths.json" in names or all(name.count("/") > 1 for name in names)
    return top if wrapped and all(name.startswith(top) for name in names) else ""


def _allowed(size: int, limit: int, name: str) -> int:
    if size > limit:
        raise BadInput(f"{quoted(name)} is larger than {limit:,} bytes: refused")
    return size


def _check_directory(path: Path) -> None:
    """Raises BadInput if a zip announces a table of contents that would not fit in memory."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**16 - 22))
        tail = file.read()
    end = tail.rfind(END_OF_ZIP)
    if end < 0:
        raise BadInput(f"{path} is not a zip file: give a results folder or a zip of one")
    with suppress(struct.error):
        members, directory = struct.unpack("<HI", tail[end + 10 : end + 16])
        if directory > MAX_DIRECTORY or members == 0xFFFF:
            raise BadInput(f"{path} announces more files than results have: refused without opening")
