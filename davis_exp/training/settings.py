"""What a config asks of Lightning: in Lightning's own terms, or refused by the key before a batch is spent on it."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BatchSizeFinder, EarlyStopping, LearningRateFinder, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from davis_exp.training import cpu
from davis_exp.training.callbacks.checkpoint import LOGGED, RunCheckpoint
from davis_exp.utils.errors import BadInput, CannotWrite, brief

log = logging.getLogger(__name__)

DEBUG = {  # two steps of everything
    "max_epochs": 1,
    "max_steps": 2,
    "limit_train_batches": 2,
    "limit_val_batches": 1,
    "check_val_every_n_epoch": 1,
    "val_check_interval": 1.0,
    "log_every_n_steps": 1,
}
LIBRARIES = ("davis_exp", "pytorch_lightning")


def overfits(trainer: Mapping[str, Any]) -> bool:
    """Whether the `trainer` node asks for the same few batches throughout."""
    return bool(trainer.get("overfit_batches"))


def translated(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The `trainer` node as Lightning is given it.

    `overfit_batches` would have Lightning replace the sampler; ours gives out an epoch's first batches again and again
    by itself (`ClipSampler.same`), and what is left to ask for is how many. `debug` is two steps, whatever else is asked
    for, since experiments have lengths of their own. On a CPU that has no bfloat16 precision is float32, and a warning says
    so. Raises BadInput for what Lightning divides by.
    """
    node = dict(trainer)
    if node.pop("debug", False):
        node |= DEBUG
    for key in ("val_check_interval", "check_val_every_n_epoch", "accumulate_grad_batches"):
        if isinstance(value := node.get(key), int | float) and value <= 0:
            raise BadInput(f"trainer.{key}: must be above 0, got {value}")
    if overfits(node):
        few = node.pop("overfit_batches")
        node |= {"limit_train_batches": few, "limit_val_batches": few}
    if str(node.get("precision")).endswith("-mixed") and _on_cpu(node) and not cpu.has_bfloat16():
        log.warning(
            "trainer.precision=%s: this CPU has no bfloat16, in which a step would take many times as long; float32 it is",
            node["precision"],
        )
        node["precision"] = "32-true"
    return node


def _on_cpu(trainer: Mapping[str, Any]) -> bool:
    """Whether Lightning will train on the CPU."""
    which = trainer.get("accelerator", "auto")
    others = torch.cuda.is_available() or torch.backends.mps.is_available()
    return which == "cpu" or (which == "auto" and not others)


def check_monitors(callbacks: Mapping[str, pl.Callback], validated: bool) -> None:
    """Refuse what would end a training at the end of its first epoch, as metrics that are never known, or begin another.

    Args:
        callbacks: by their names in the config.
        validated: whether there is any validation.

    Raises:
        BadInput: naming the key.
    """
    others = any(
        type(callback).__module__.partition(".")[0] not in LIBRARIES for callback in callbacks.values()
    )
    for name, callback in callbacks.items():
        if isinstance(callback, BatchSizeFinder | LearningRateFinder):
            what = "batch" if isinstance(callback, BatchSizeFinder) else "lr"
            raise BadInput(
                f"callbacks.{name}: find it before training, by davis-exp tune {what}, and leave this out"
            )
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in LOGGED and not others:  # others may log what they like
            raise BadInput(
                f"callbacks.{name}.monitor: {monitor!r} is not logged; choose {' or '.join(LOGGED)}"
                + (", or null to keep the latest" if isinstance(callback, RunCheckpoint) else "")
            )
        waits = isinstance(callback, EarlyStopping | ModelCheckpoint) and not isinstance(
            callback, RunCheckpoint
        )
        if waits and not validated and str(monitor).startswith("val/"):
            raise BadInput(
                f"callbacks.{name}.monitor: nothing is validated, so {monitor} is never known; hold clips out "
                "(data.holdout, trainer.limit_val_batches), or monitor train/loss"
            )


@contextlib.contextmanager
def naming(callbacks: Mapping[str, pl.Callback]) -> Iterator[None]:
    """What Lightning and its callbacks refuse of their settings becomes BadInput naming the key.

    Args:
        callbacks: by their names in the config.
    """
    try:
        yield
    except (BadInput, CannotWrite, OSError):
        raise
    except Exception as error:
        name = _refusing(callbacks, error)
        if name is not None:
            said = brief(error)
            raise BadInput(
                f"callbacks.{name}: {type(callbacks[name]).__name__} refuses to work here: {said}"
            ) from error
        if "val_check_interval" in str(error):
            raise BadInput(
                "trainer.val_check_interval: an epoch has fewer batches; give no more than it has, a fraction of it, or "
                "count over epochs with trainer.check_val_every_n_epoch=null"
            ) from error
        if isinstance(error, MisconfigurationException):
            raise BadInput(f"trainer: Lightning refuses these settings: {brief(error)}") from error
        raise


def _refusing(callbacks: Mapping[str, pl.Callback], error: Exception) -> str | None:
    """The callback of Lightning's own in which `error` was raised."""
    names = {
        id(callback): name
        for name, callback in callbacks.items()
        if type(callback).__module__.startswith("pytorch_lightning.")
    }
    traceback = error.__traceback__
    while traceback is not None:
        owner = id(traceback.tb_frame.f_locals.get("self"))
        if owner in names:
            return names[owner]
        traceback = traceback.tb_next
    return None
