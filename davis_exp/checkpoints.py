"""Checkpoints: one file that is enough to test, predict or export, since it holds its own config."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from davis_exp import build, zoo
from davis_exp.errors import BadInput
from davis_exp.instantiate import check_stored

if TYPE_CHECKING:
    from torch import nn

BEST = "a run's checkpoints/best.ckpt"  # what to give where something else was given


def read(path: str | Path) -> dict[str, Any]:
    """A checkpoint of ours as a plain dictionary; BadInput if it is none.

    Nothing in it is executed, and its config can only name parts of models. Models that ship ("zoo/NAME") and files of
    `davis-exp export` are checkpoints too.
    """
    read = _read(path := find(path))
    if not isinstance(read, dict) or not isinstance(read.get("config"), dict) or "state_dict" not in read:
        raise BadInput(
            f"checkpoint: {path} has no config in it; only checkpoints written by davis-exp can be used"
        )
    check_parts(read["config"])
    return read


def check_parts(config: Mapping[str, Any]) -> None:
    """Refuses a config that came with a file if making its model would call anything but parts of models."""
    from torch import nn

    from davis_exp.data.flow import MotionSource

    for key in ("model", *build.PARTS, "flow"):
        check_stored(config.get(key), key, nn.Module, MotionSource)


def find(path: str | Path) -> Path:
    """The file of a checkpoint that the user names: itself, a model that ships, or the best one of a run's folder."""
    found = zoo.find(path)
    return found / "checkpoints" / "best.ckpt" if found.is_dir() else found


def _read(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise BadInput(f"checkpoint: no file {path}; give {BEST}{_shipped()}")
    if zoo.is_model_file(path):
        state, about = zoo.read(path)
        return {"state_dict": {f"model.{name}": value for name, value in state.items()}, **about}
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadInput(f"checkpoint: {path} cannot be read: {error.strerror}") from error
    except Exception as error:  # which speaks of pickles, and of how to run what is in them
        raise BadInput(
            f"checkpoint: {path} is no checkpoint of davis-exp, or a damaged one; give {BEST}{_shipped()}"
        ) from error


def score(checkpoint: dict[str, Any], monitor: str, default: Any = None) -> Any:
    """What the checkpoint scored on `monitor` when it was kept as the best; `default` if it was not kept for that."""
    states = checkpoint.get("callbacks", {}).values()
    known = [state.get("best_model_score") for state in states if state.get("monitor") == monitor]
    return next((value for value in known if value is not None), default)


def restore(checkpoint: dict[str, Any]) -> "nn.Module":
    """The model of a checkpoint with its weights (the averaged ones where it has them)."""
    model = build.build_model(OmegaConf.create(checkpoint["config"]))
    fill(model, checkpoint)
    return model


def fill(model: "nn.Module", checkpoint: dict[str, Any]) -> None:
    """Puts a checkpoint's weights into a model. Raises BadInput if they are another model's."""
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise BadInput(
            f"checkpoint: its weights do not fit its model: {' '.join(str(error).split())[:200]}"
        ) from error


def _shipped() -> str:
    return (
        f", or one that ships: {', '.join(f'{zoo.PREFIX}{name}' for name in zoo.names())}"
        if zoo.names()
        else ""
    )
