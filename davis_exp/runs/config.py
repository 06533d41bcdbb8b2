"""What a run was composed with: Hydra's files in its folder, as plain data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

CONFIG, OVERRIDES, HYDRA = (f".hydra/{name}.yaml" for name in ("config", "overrides", "hydra"))


@dataclass(frozen=True)
class Composed:
    """A run's config as it is stored; nothing in it is resolved, and whatever is not there is empty."""

    config: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # of the config
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)  # group → option
    directory: Path = Path()  # where it was started


def read(folder: Path) -> Composed | None:
    """What the run in `folder` was composed with; None where no run's config is. Raises BadInput for what is none."""
    path = folder / CONFIG
    if not path.exists():
        return None
    config = given.read_yaml(path)
    overrides = _optional(folder / OVERRIDES) or []
    own = _optional(folder / HYDRA) or {}
    hydra = own.get("hydra") or {} if isinstance(own, dict) else None
    runtime = hydra.get("runtime") or {} if isinstance(hydra, dict) else None
    choices = runtime.get("choices") or {} if isinstance(runtime, dict) else None
    directory = runtime.get("cwd", ".") if isinstance(runtime, dict) else None
    texts = isinstance(overrides, list) and all(isinstance(override, str) for override in overrides)
    if not (isinstance(config, dict) and texts and isinstance(choices, dict) and isinstance(directory, str)):
        raise BadInput(f"{given.shown(folder / '.hydra')} is not what Hydra writes into a run's folder")
    told = {group: str(option) for group, option in choices.items()}
    return Composed(config, given.read_text(path), overrides, told, Path(directory.replace("\0", "")))


def _optional(path: Path) -> Any:
    content = given.read_yaml(path) if path.exists() else None
    if content is not None and not isinstance(content, dict | list):
        raise BadInput(f"{given.shown(path)} is not what Hydra writes into a run's folder")
    return content
