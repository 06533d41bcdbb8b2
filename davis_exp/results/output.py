"""Scores as files."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from davis_exp.utils import written
from davis_exp.utils.errors import CannotWrite, cannot_write


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all, and the folders it lies in. Raises CannotWrite."""
    try:
        written.write_bytes(path, text.encode("utf-8", "backslashreplace"))  # names of files may be no text
    except OSError as error:
        raise cannot_write(error, path) or CannotWrite(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON that any reader takes (no NaN)."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the columns of the first; None is an empty cell.

    Text that a spreadsheet would run as a formula gets an apostrophe in front: names come from strangers.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    write_text(path, buffer.getvalue())


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
