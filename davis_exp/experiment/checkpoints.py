"""Checkpoints: one file that is enough to test, predict or export, since it holds its own config."""

import hashlib
import logging
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from davis_exp import config, exported
from davis_exp.config import parts
from davis_exp.experiment import build
from davis_exp.models import zoo
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, brief, quoted

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import nn

BEST = "a run's checkpoints/best.ckpt"  # what to give where something else was given
MEMBERS = 200_000  # files in the archive that a checkpoint is: one a tensor
INDEX = 2**26  # bytes of the one that says what is where
KERAS = ".keras"  # a model that Keras saved
LARGEST_MAPS = 2**31  # bytes that such a model may hold at once for a frame of DAVIS


def read(path: str | Path, allow: Collection[str] = ()) -> dict[str, Any]:
    """A checkpoint of ours as a plain dictionary; BadInput if it is none.

    It is data, whoever made it: nothing in it is executed, its config can only name parts of models by our own
    table (`davis_exp.config.parts`) and the classes that the user allows, and its weights are whole.
    Models that ship ("zoo/NAME") and files of `davis-exp export` are checkpoints too; those for another engine hold
    a graph in the place of weights.
    """
    name = given.shown(path)
    found = _exported(find(path)) if exported.is_exported(path) else weights(path)
    parts.check_config(found.get("config"), name, allow)
    clips = found.get("clips", {})
    if not isinstance(clips, dict) or not all(
        isinstance(names, list) and all(isinstance(clip, str) for clip in names) for names in clips.values()
    ):
        raise BadInput(f"{name}: its clips are not lists of names; only what davis-exp wrote can be used")
    flow = found["config"].get("flow") or {}
    if "cache" in flow:  # where flow was kept on another machine is no place to write to here
        flow["cache"] = None
    return found


def _exported(path: Path) -> dict[str, Any]:
    told, model = exported.open_exported(path)
    return {"config": told.get("config"), "clips": told.get("clips", {}), "exported": model, "state_dict": {}}


def weights(path: str | Path) -> dict[str, Any]:
    """A checkpoint whose config is not used: its weights and what training goes on from. Raises BadInput as `read`."""
    path = find(path)
    name = given.shown(path)
    if exported.is_exported(path):
        raise BadInput(
            f"{name}: a graph for another engine, which cannot be trained; give the checkpoint it came from"
        )
    found = _read(path)
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict) or "state_dict" not in found:
        raise BadInput(
            f"checkpoint: {name} has no config in it; only checkpoints written by davis-exp can be used"
        )
    _check_state(found["state_dict"], name)
    found.pop("exported", None)  # `read` puts a graph there
    return found


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(path: str | Path) -> Path:
    """The file of a checkpoint that the user names: itself, a model that ships, or the best one of a run's folder."""
    found = zoo.find(path)
    return found / "checkpoints" / "best.ckpt" if found.is_dir() else found


def _read(path: Path) -> Any:
    import torch

    if not path.exists():
        last = path.with_name("last.ckpt")
        if path.name == "best.ckpt" and last.is_file():
            raise BadInput(
                f"checkpoint: no file {given.shown(path)}; as nothing was validated, give {given.shown(last)}"
            )
        raise BadInput(f"checkpoint: no file {given.shown(path)}; give {BEST}{_shipped()}")
    with given.open_file(path) as file:
        if str(path).endswith(KERAS):
            return _keras(path)
        if zoo.is_model_file(path):
            state, about = zoo.read(path)
            return {**about, "state_dict": {f"model.{name}": value for name, value in state.items()}}
        none = (
            f"checkpoint: {given.shown(path)} is no checkpoint of davis-exp, or a damaged one; "
            f"give {BEST}{_shipped()}"
        )
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            raise BadInput(none) from error
        # torch stores its tensors as they are: what would unpack to more than the file is no checkpoint.
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or len(members) > MEMBERS:
            raise BadInput(none)
        if any(m.filename.endswith("/data.pkl") and m.file_size > INDEX for m in members):
            raise BadInput(none)
        file.seek(0)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # which speaks of pickles, and of how to run what is in them
            raise BadInput(none) from error


def _keras(path: Path) -> dict[str, Any]:
    """The model in a .keras file as a checkpoint: run as it is, a frame at a time, at the frames' own size."""
    from davis_exp.models.keras import file
    from davis_exp.models.keras.segmenter import KerasSegmenter

    try:
        described = file.architecture_of(path)
        model = KerasSegmenter(architecture=described, weights=str(path))
        model.load_weights()
    except (ValueError, BadInput) as error:
        raise BadInput(f"checkpoint: {given.shown(path)}: {error}") from error
    usual = config.option("", "_experiment")
    composed = {
        **usual,
        "name": path.stem,
        "model": config.option("model", "keras") | {"factory": None, "architecture": described},
        "budget": config.option("budget", "contest"),
        "data": {"size": None},
        "inference": usual["inference"] | {"window": 1, "stride": 1},
    }
    return {"config": composed, "state_dict": {f"model.{name}": v for name, v in model.state_dict().items()}}


def _check_state(state: Any, name: str) -> None:
    """Refuses weights that are not dense, finite tensors in memory of their own. Raises BadInput."""
    import torch

    if not isinstance(state, dict):
        raise BadInput(f"{name}: its state_dict holds no weights by name")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, torch.Tensor):
            raise BadInput(f"{name}: {quoted(key)} of its state_dict is no tensor")
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        plain &= not (tensor.is_complex() or tensor.is_quantized)
        # A view may claim a million times the memory that it has.
        if not plain or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise BadInput(f"{name}: {quoted(key)} of its state_dict is no plain tensor")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BadInput(
                f"{name}: {quoted(key)} holds NaN or infinity: the model has diverged; take an earlier checkpoint"
            )


def check_counted(checkpoint: dict[str, Any] | None, count: int) -> None:
    """Refuses a graph that holds more numbers than the model of its config, which has `count`. Raises BadInput."""
    graph = (checkpoint or {}).get("exported")
    if (
        graph is not None and graph.weights > 1.1 * count + 10_000
    ):  # scales of 8 bits, shapes and other constants
        raise BadInput(
            f"{graph.name}: holds {graph.weights:,} numbers, but the model that it says it is has {count:,}"
        )


def newest_whole(found: list[Path]) -> tuple[Path | None, dict[str, Any] | None]:
    """Of a run's checkpoints, the last first: the one to go on from, and what is in it; None where there are none.

    Raises BadInput where there are some, but none that can be gone on from: starting over would replace the best.
    """
    for path in found:
        try:
            kept = weights(path)
        except BadInput as error:
            log.warning("%s", error)
            continue
        if path.stem != "last":
            log.warning(
                "there is no whole last.ckpt: going on from step %d, of %s", kept["global_step"], path
            )
        return path, kept
    if found:
        raise BadInput(
            f"resume: nothing in {found[0].parent} can be gone on from, and starting over would replace what is there; "
            "start another run (resume=none)"
        )
    return None, None


def score(checkpoint: dict[str, Any], monitor: str, default: Any = None) -> Any:
    """What the checkpoint scored on `monitor` when it was kept as the best; `default` if it was not kept for that."""
    states = checkpoint.get("callbacks", {}).values()
    known = [state.get("best_model_score") for state in states if state.get("monitor") == monitor]
    return next((value for value in known if value is not None), default)


def restore(checkpoint: dict[str, Any]) -> "nn.Module":
    """The model of a checkpoint with its weights (the averaged ones where it has them).

    It is built without memory for weights, and takes over the checkpoint's: a config that asks for more than the
    file has costs nothing. A graph for another engine is the model itself. Raises BadInput.
    """
    from davis_exp import budget

    if "exported" in checkpoint:
        return checkpoint["exported"]

    try:
        with budget.empty_weights():
            model = build.build_model(OmegaConf.create(checkpoint["config"]))
    except BadInput:
        raise
    except Exception as error:  # parts that are each in order, but do not go together
        raise BadInput(f"checkpoint: its model cannot be built: {brief(error)}") from error
    described = checkpoint["config"]["model"].get("architecture") is not None  # its maps may be of any size
    if described and (budget.measure(model).activations or LARGEST_MAPS + 1) > LARGEST_MAPS:
        raise BadInput(
            f"checkpoint: its model takes more than {LARGEST_MAPS / 1e9:.1f} GB to compute a frame"
        )
    fill(model, checkpoint, assign=True)
    return model


def fill(
    model: "nn.Module",
    checkpoint: dict[str, Any],
    assign: bool = False,
    refusal: str = "checkpoint: its weights do not fit its model",
) -> None:
    """Puts a checkpoint's weights into a model, as copies or (`assign`) themselves.

    Raises BadInput, which begins with `refusal`, if they do not fit.
    """
    prefix = "model."
    state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    own = model.state_dict()
    for name in [*own, *state]:
        if name not in state or name not in own or state[name].shape != own[name].shape:
            mine, theirs = (list(where[name].shape) if name in where else "nothing" for where in (own, state))
            raise BadInput(f"{refusal}: {quoted(name)} is {theirs} there and {mine} here")
    if assign:
        state = {name: value.to(own[name].dtype) for name, value in state.items()}
    model.load_state_dict(state, assign=assign)


def _shipped() -> str:
    return (
        f", or one that ships: {', '.join(f'{zoo.PREFIX}{name}' for name in zoo.names())}"
        if zoo.names()
        else ""
    )
