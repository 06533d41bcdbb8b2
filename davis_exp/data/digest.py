"""What the frames and masks of a data set are, in one number: the same after a copy, on any machine, cheap to tell."""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from davis_exp.data.sequences import Source
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

WHOLE = 16 * 1024  # bytes: what is larger is told by its size, its beginning, its middle and its end
BLOCK = 4 * 1024
FETCHED = ("artifact", "test_artifact")  # keys of data that come from W&B


def stages(command: str, test_split: str | None) -> tuple[str, ...]:
    """The stages of a data set that a command looks at."""
    held_out = test_split == "holdout"
    if command == "train":
        return ("train",) if held_out else ("train", "test")
    return ("train",) if held_out else ("test",)


def of_source(source: Source, stages: Iterable[str]) -> str | None:
    """A digest (hex) of the names and files of all sequences of `stages`; None where they cannot all be read.

    Where files lie, and when they were written, does not count. What is generated has no files: it is told by its names,
    and otherwise by its config.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for stage in stages:
            sequences = (
                [sequence for part in source.parts() for sequence in part.sequences]
                if stage == "train"
                else source.sequences(stage)
            )
            for sequence in sequences:
                digest.update(f"\n{stage} {sequence.name} {len(sequence)} {sequence.annotated}\n".encode())
                for file in sequence.files():
                    digest.update(_of_file(file))
    except (BadInput, OSError):
        return None
    return digest.hexdigest()


def of_config(data: Mapping[str, Any], command: str) -> str | None:
    """As `of_source`, of the data set that the `data` node of a run's config describes.

    None too where it would have to be fetched first.
    """
    import dataclasses

    from davis_exp.config.instantiate import make
    from davis_exp.data.loading import Loading

    if _fetched(data):
        return None
    loading = {field.name for field in dataclasses.fields(Loading)}
    try:
        source = make({key: value for key, value in data.items() if key not in loading}, "data")
    except BadInput:
        return None
    return of_source(source, stages(command, data.get("test_split")))


def _fetched(node: Any) -> bool:
    """Whether any part of a config node is data that come from W&B."""
    if isinstance(node, Mapping):
        return any(node.get(key) for key in FETCHED) or any(map(_fetched, node.values()))
    return isinstance(node, list) and any(map(_fetched, node))


def _of_file(path: Path) -> bytes:
    about = path.stat()
    return _sampled(path, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=100_000)  # clips may share pictures, and the jobs of a sweep share clips
def _sampled(path: Path, size: int, changed: int) -> bytes:
    with given.open_file(path) as file:
        if size <= WHOLE:
            content = file.read(WHOLE + 1)
        else:
            content = b""
            for place in (0, (size - BLOCK) // 2, size - BLOCK):
                file.seek(place)
                content += file.read(BLOCK)
    return hashlib.blake2b(f"{size} ".encode() + content, digest_size=16).digest()
