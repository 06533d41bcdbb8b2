"""Files that Keras writes: .keras and .weights.h5. They are data, from anybody: checked before Keras sees them."""

import contextlib
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from davis_exp.models.keras import architecture
from davis_exp.models.keras.backend import keras
from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, brief, quoted

SUFFIX = ".keras"
WEIGHTS = (".h5", ".hdf5")
CONFIG, STORED = "config.json", "model.weights.h5"  # in a .keras file
LARGEST = 2**30  # bytes of weights, the optimizer's state among them
OBJECTS, DEPTH = 100_000, 32  # in a file of weights


def is_one(path: str | Path) -> bool:
    """Whether `path` is called as a file of Keras' is."""
    return str(path).endswith((SUFFIX, *WEIGHTS))


def architecture_of(path: Path) -> str:
    """What a .keras file says of its model, JSON, if a file may say that and the weights beside it are enough for it.

    Raises ValueError.
    """
    with _archive(path) as archive:
        try:
            text = _member(archive, CONFIG, architecture.TEXT).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{CONFIG} is not UTF-8") from error
        size = archive.getinfo(STORED).file_size
    architecture.check(text)
    with keras().device("meta"):  # before memory is taken for it
        model = architecture.model(text)
        wanted = sum(variable.value.nbytes for variable in model.weights)
    if wanted > size:
        raise ValueError(f"its model has {wanted:,} bytes of weights, of which {size:,} are there")
    return text


def load_weights(model: Any, path: str | Path) -> None:
    """Fill a Keras model with the weights in a .keras or .weights.h5 file. Raises ValueError."""
    try:
        with _weights(Path(path)) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said below, in a line
            _check_weights(file)
            model.load_weights(file)
    except BadInput as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # Keras' own kinds
        raise ValueError(f"the weights in {given.shown(path)} do not fit: {brief(error)}") from error


def save(model: Any, path: Path) -> None:
    """Write a Keras model as a .keras file, whole or not at all. Raises OSError where it cannot be written."""
    with written.atomic_file(path) as part:
        model.save(str(part))


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A .keras file, whose members are as large as they say. Raises ValueError."""
    with given.open_file(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {member.filename: member for member in archive.infolist()}
                if missing := {CONFIG, STORED} - members.keys():
                    raise ValueError(f"it holds no {min(missing)}")
                if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members.values()):
                    raise ValueError("it is packed as Keras packs no model; save it anew with model.save")
                if members[STORED].file_size > min(LARGEST, path.stat().st_size):
                    raise ValueError(f"its weights are more than {LARGEST:,} bytes")
                yield archive
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise ValueError(f"it is no .keras file, or a damaged one ({brief(error)})") from error


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"its {name} is larger than {limit:,} bytes")
    return content


@contextlib.contextmanager
def _weights(path: Path) -> Iterator[str]:
    """The file of weights that `path` is or holds. Raises ValueError, or BadInput if it is no file."""
    if path.suffix != SUFFIX:
        given.open_file(path, LARGEST).close()
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="davis_exp_") as folder, _archive(path) as archive:
        copy = Path(folder, STORED)
        with archive.open(STORED) as file, open(copy, "wb") as out:
            shutil.copyfileobj(file, out, 2**20)
        yield str(copy)


def _check_weights(path: str) -> None:
    """Refuses a file of weights in which anything is not an array of numbers, whole, in the file itself.

    HDF5 can fetch arrays from other files, and let a few bytes stand for terabytes. Raises ValueError.
    """
    import h5py

    def refuse(name: str, what: str) -> None:
        raise ValueError(f"{quoted(name)} in it {what}")

    with h5py.File(path, "r") as file:
        left: list[tuple[Any, int]] = [(file, 0)]
        seen = 0
        while left:
            group, depth = left.pop()
            for name in group:
                seen += 1
                if seen > OBJECTS or depth > DEPTH:
                    refuse(group.name, "holds more than a model has")
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    refuse(name, "is a link")
                child = group[name]
                if isinstance(child, h5py.Group):
                    left.append((child, depth + 1))
                elif not isinstance(child, h5py.Dataset) or child.dtype.kind not in "fiub":
                    refuse(child.name, "is no array of numbers")
                elif child.is_virtual or child.external or child.compression or child.shape is None:
                    refuse(child.name, "is not stored as Keras stores weights")
                elif child.id.get_storage_size() < child.nbytes:
                    refuse(child.name, "announces more than is there")
