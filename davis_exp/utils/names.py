"""Names of files as people give them: which are meant, and in what order."""

import re
from pathlib import PurePath

NUMBERS = re.compile(r"([0-9]+)")  # digits of ASCII: others are no numbers to a file's name


def natural(name: str | PurePath) -> tuple[list[str | int], str]:
    """Sort key: 9 before 10, wherever in the name the number stands, capitals like others. A file's suffix comes last."""
    whole, stem = (name, name) if isinstance(name, str) else (name.name, name.stem)
    parts = NUMBERS.split(stem.casefold())  # text and numbers in turns
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], whole


def hidden(name: str) -> bool:
    """Whether no file manager shows a file, by its name below its data set: `._x.jpg`, .DS_Store, all in __MACOSX."""
    parts = PurePath(name).parts
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in parts)
