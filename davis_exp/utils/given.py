"""Files that somebody gave us: read with a limit of size, depth and kind, and never waited for.

A FIFO, a device, a sparse file of a terabyte or a YAML alias bomb is refused in one line.
"""

import json
import math
import os
import stat
from pathlib import Path
from typing import IO, Any

import yaml

from davis_exp.utils.errors import BadInput, quoted

MB = 2**20
TEXT = 64 * MB  # bytes of a list, a table or a log
SMALL = 4 * MB  # bytes of a config or a status
DEPTH = 64  # of containers within containers
ITEMS = 4_000_000  # values in one file
LINES = 1_000_000  # of a list
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML has it


def open_file(path: Path, limit: int | None = None) -> IO[bytes]:
    """A regular file, opened for reading. Raises BadInput for anything else, and for one of more than `limit` bytes."""
    try:
        # Without waiting: opening a FIFO would block until somebody writes to it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadInput(f"there is no file {shown(path)}") from None
    except OSError as error:
        raise BadInput(f"{shown(path)} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name with a null character
        raise BadInput(f"{shown(path)} cannot be a file's name") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise BadInput(f"{shown(path)} is no file but a {kind(status.st_mode)}")
    if limit is not None and status.st_size > limit:
        os.close(handle)
        raise BadInput(f"{shown(path)} is larger than {limit:,} bytes: refused")
    return open(handle, "rb")


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises BadInput."""
    with open_file(path, limit) as file:
        try:
            content = file.read(limit + 1)  # it may grow while it is read
        except OSError as error:
            raise BadInput(f"{shown(path)} cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise BadInput(f"{shown(path)} is larger than {limit:,} bytes: refused")
    return content


def read_text(path: Path, limit: int = TEXT) -> str:
    """As `read_bytes`, from UTF-8 (a byte order mark at its beginning is dropped)."""
    content = read_bytes(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{shown(path)} is not UTF-8: save it as plain UTF-8 text") from error


def read_lines(path: Path) -> list[str]:
    """As `read_text`, by lines. Raises BadInput for more than LINES."""
    text = read_text(path)
    if text.count("\n") > LINES:
        raise BadInput(f"{shown(path)} has more than {LINES:,} lines: refused")
    return text.splitlines()


def read_json(path: Path, limit: int = SMALL) -> Any:
    """What a JSON file holds, as `bounded`. Raises BadInput."""
    return parse_json(read_text(path, limit), shown(path))


def parse_json(text: str | bytes, name: str) -> Any:
    """JSON as plain values. Raises BadInput, calling it `name`."""
    letters = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if (
        letters.count(b",") + letters.count(b"[") + letters.count(b"{") > ITEMS
    ):  # before memory is taken for them
        raise BadInput(f"{name}: more than {ITEMS:,} values: refused")
    try:
        return bounded(json.loads(text), name)
    except RecursionError:
        raise BadInput(f"{name}: nested more than {DEPTH} deep") from None
    except ValueError as error:
        raise BadInput(f"{name} is not JSON: {quoted(error)}") from error


def read_yaml(path: Path, limit: int = MB // 2) -> Any:
    """What a YAML file holds, without tags and aliases, as `bounded`. Raises BadInput."""
    name, text = shown(path), read_text(path, limit)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=LOADER):  # before anything is made of it
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH:
                raise BadInput(f"{name}: nested more than {DEPTH} deep")
            if isinstance(event, yaml.AliasEvent):  # which can make a gigabyte of a hundred bytes
                raise BadInput(f"{name}: YAML aliases are not taken; write the value again")
        return bounded(yaml.load(text, Loader=LOADER), name)
    except RecursionError:
        raise BadInput(f"{name}: nested more than {DEPTH} deep") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise BadInput(f"{name} is not plain YAML: {quoted(' '.join(str(error).split()))}") from error


def bounded(value: Any, name: str) -> Any:
    """`value` itself, if it is plain data of bounded depth and size, with text that can be written down.

    Containers are lists and dictionaries with text as keys; numbers are floats, and integers of 64 bits. Raises
    BadInput, calling it `name`.
    """
    left = [(value, 0)]
    seen = 0
    while left:
        node, depth = left.pop()
        seen += 1
        if seen > ITEMS or depth > DEPTH:
            what = f"nested more than {DEPTH} deep" if depth > DEPTH else f"more than {ITEMS:,} values"
            raise BadInput(f"{name}: {what}: refused")
        if isinstance(node, dict):
            for key, child in node.items():
                if not isinstance(key, str):
                    raise BadInput(f"{name}: {quoted(key)} is a {type(key).__name__}, no text, for a key")
                left += [(key, depth + 1), (child, depth + 1)]
        elif isinstance(node, list):
            inner = [(child, depth + 1) for child in node if depth == DEPTH or not _plain(child)]
            seen += len(node) - len(inner)
            left += inner
        elif isinstance(node, str):
            if not node.isascii() and any("\ud800" <= letter <= "\udfff" for letter in node):
                raise BadInput(f"{name}: {quoted(node)} is no text (a lone surrogate)")
        elif isinstance(node, int):
            if not isinstance(node, bool) and not -(2**63) <= node < 2**63:
                raise BadInput(f"{name}: a whole number of more than 64 bits")
        elif node is not None and not isinstance(node, float):
            raise BadInput(f"{name}: a value of type {type(node).__name__}; plain data is asked for")
    if seen > ITEMS:
        raise BadInput(f"{name}: more than {ITEMS:,} values: refused")
    return value


def _plain(value: Any) -> bool:
    """Whether nothing can be wrong with a value in itself, as with most in long lists: a score's."""
    kind = type(value)
    return kind is float or value is None or (kind is str and value.isascii())


def number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether `value` is a finite number (no truth value) from `low` to `high`."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )


def kind(mode: int) -> str:
    """What a file that is none is, in words."""
    kinds = {
        stat.S_IFDIR: "folder",
        stat.S_IFIFO: "named pipe",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
        stat.S_IFSOCK: "socket",
    }
    return kinds.get(stat.S_IFMT(mode), "special file")


def shown(path: Path | str) -> str:
    """A path for a one-line message, whatever is in it."""
    text = str(path)
    return text if text.isprintable() and len(text) < 400 else quoted(text)
