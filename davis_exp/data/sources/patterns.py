"""Files found by patterns: paths whose names in braces say what each part of them stands for."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from davis_exp.utils import given
from davis_exp.utils.errors import BadInput
from davis_exp.utils.names import hidden

NAME = re.compile(r"\{([A-Za-z_]\w*)\}")
# What loses nothing comes first.
SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".webp", ".jpg", ".jpeg")


class Pattern:
    """A path below some folder, as "JPEGImages/{sequence}/{frame}": a name in braces stands for anything but a slash.

    It ends in a picture's suffix (".jpg"), or stands for pictures of any kind. Hidden files and folders are passed over.

    Args:
        text: the path.

    Attributes:
        names: what is in braces, in order.

    Raises:
        ValueError: it leads out of the folder, or does not end in the name of a picture with {frame} in it.
    """

    def __init__(self, text: str) -> None:
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{text!r} leaves the folder: name what lies in it, without '..'")
        if "{frame}" not in path.name:
            raise ValueError(f"{text!r} must end in the name of a picture, with {{frame}} in it")
        self.text = text
        self.names = tuple(dict.fromkeys(NAME.findall(text)))
        self._suffixes = (path.suffix.lower(),) if path.suffix.lower() in SUFFIXES else SUFFIXES
        self._parts = (
            *path.parts[:-1],
            path.name.removesuffix(path.suffix) if len(self._suffixes) == 1 else path.name,
        )

    def find(self, root: Path, known: Mapping[str, str]) -> Iterator[tuple[dict[str, str], Path]]:
        """What each name stands for, and the file, of every picture below `root` that agrees with what is `known`.

        Folders and files come by name, files of one name in the order of SUFFIXES. Raises BadInput for a folder that
        cannot be listed.
        """
        try:
            yield from self._below(root, self._parts, dict(known))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise BadInput(
                f"{given.shown(error.filename or root)} cannot be read: {error.strerror}"
            ) from error

    def _below(
        self, folder: Path, parts: tuple[str, ...], values: dict[str, str]
    ) -> Iterator[tuple[dict[str, str], Path]]:
        part, rest = parts[0], parts[1:]
        unknown = set(NAME.findall(part)) - values.keys()
        if not unknown:
            name = NAME.sub(lambda found: values[found[1]], part)
            if rest:
                if (folder / name).is_dir():
                    yield from self._below(folder / name, rest, values)
                return
            for suffix in self._suffixes:  # without listing the folder, which may hold all other pictures too
                for path in (folder / f"{name}{suffix}", folder / f"{name}{suffix.upper()}"):
                    if path.is_file():
                        yield values, path
            return
        shape = _expression(part, values)
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not hidden(entry.name)]
        if rest:
            for name in sorted(names):
                if (found := shape.fullmatch(name)) and (folder / name).is_dir():
                    yield from self._below(folder / name, rest, values | found.groupdict())
            return
        pictures = [(PurePosixPath(name).suffix.lower(), name) for name in names]
        for suffix, name in sorted(pictures, key=lambda picture: (_rank(picture[0]), picture[1])):
            if suffix in self._suffixes and (found := shape.fullmatch(name[: -len(suffix)])):
                yield values | found.groupdict(), folder / name


def _rank(suffix: str) -> int:
    return SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)


def _expression(part: str, values: Mapping[str, str]) -> re.Pattern[str]:
    """What a file's name must look like: known names as they are, each other one a group."""
    made, end, seen = "", 0, set()
    for name in NAME.finditer(part):
        made += re.escape(part[end : name.start()])
        end = name.end()
        if name[1] in values:
            made += re.escape(values[name[1]])
        elif name[1] in seen:
            made += f"(?P={name[1]})"
        else:
            made += f"(?P<{name[1]}>.+)"
        seen.add(name[1])
    return re.compile(made + re.escape(part[end:]), re.DOTALL)
