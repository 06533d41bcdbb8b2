"""Models as small files: weights in half precision with their config; some ship with the package, as "zoo/NAME".

Each that ships has a card beside it, NAME.md, and its SHA-256 in digests.json.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, choices

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parents[1] / "zoo"
PREFIX = "zoo/"
SUFFIX = ".safetensors"
DEFAULT = "zoo/zoo_mobile"  # where a model is wanted and none is named


def names() -> list[str]:
    """What ships with the package."""
    return sorted(json.loads((FOLDER / "digests.json").read_text()))


def is_model_file(name: str | Path) -> bool:
    """Whether `name` says where such a file is: zoo/NAME, or a path that ends in .safetensors."""
    return _ships(name) or str(name).endswith(SUFFIX)


def find(name: str | Path) -> Path:
    """The file of a model that ships, by its name; any other path is given back as it is.

    Raises BadInput for a name that does not ship, or a file that is not the one that did.
    """
    if not _ships(name):
        return Path(name)
    digests = json.loads((FOLDER / "digests.json").read_text())
    wanted = str(name).removeprefix(PREFIX)
    if wanted not in digests:
        raise BadInput(f"{name}: no such model ships{choices(wanted, digests, PREFIX)}")
    path = FOLDER / f"{wanted}{SUFFIX}"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digests[wanted]:
        raise BadInput(f"{name}: {path} is missing or damaged; install davis_exp again")
    return path


def read(path: Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Weights, in float32 where they are floats, by name; and the config and whatever else `write` was given.

    Raises BadInput for a file that is none of ours.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError, ValueError, OverflowError) as error:
        raise BadInput(f"{path}: cannot be read as a model ({' '.join(str(error).split())[:120]})") from error
    if header.get("format") != "davis_exp" or "about" not in header:
        raise BadInput(f"{path}: has no config in it; only files that `davis-exp export` wrote can be used")
    floats = (torch.float16, torch.bfloat16)
    state = {name: value.float() if value.dtype in floats else value for name, value in state.items()}
    about = given.parse_json(header["about"], given.shown(path))
    if not isinstance(about, dict):
        raise BadInput(
            f"{given.shown(path)}: has no config in it; only what `davis-exp export` wrote can be used"
        )
    return state, about


def _ships(name: str | Path) -> bool:
    """zoo/NAME is the name of a model that ships; zoo/NAME.safetensors, and what is deeper, is the user's own file."""
    return (
        str(name).startswith(PREFIX)
        and "/" not in str(name)[len(PREFIX) :]
        and not str(name).endswith(SUFFIX)
    )


def write(path: Path, state: dict[str, "Tensor"], about: dict[str, Any]) -> None:
    """Weights in half precision, and what is said about them (its "config" makes the file complete).

    Raises BadInput for weights too large for half precision.
    """
    import torch
    from safetensors.torch import save_file

    halves = {
        name: (value.half() if value.dtype == torch.float32 else value).contiguous().clone()
        for name, value in state.items()
    }
    for name, value in halves.items():
        if not torch.isfinite(value).all():
            raise BadInput(f"{name}: holds what half precision cannot; the model has diverged")
    with written.atomic_file(path) as part:
        save_file(halves, part, {"format": "davis_exp", "about": json.dumps(about)})
        part.chmod(
            path.parent.stat().st_mode & 0o666
        )  # to be handed on: the library lets its owner alone read it
