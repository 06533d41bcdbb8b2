"""Why a training ended, where its length alone does not say."""

from datetime import timedelta

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, Timer


def said(trainer: pl.Trainer, before: int = 0) -> str | None:
    """What ended a fit that was at step `before` when it began, in one line; None where it is what was asked for."""
    step = trainer.global_step
    reasons = [reason for callback in trainer.callbacks if (reason := _stopped(callback))]  # type: ignore[attr-defined]
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        reasons.append(f"trainer.max_epochs={trainer.max_epochs}")
    if 0 <= trainer.max_steps <= step:
        reasons.append(f"trainer.max_steps={trainer.max_steps}")
    why = reasons[0] if reasons else "there was no batch"
    if step == before:
        return f"nothing was trained{f' beyond step {step}' * bool(step)}: {why}"
    if why.startswith("trainer.max_epochs") and step < trainer.max_steps:
        return f"trained for {step} of trainer.max_steps={trainer.max_steps} steps: {why} came first"
    return (
        None
        if why.startswith(("trainer.max_epochs", "trainer.max_steps"))
        else f"trained for {step} steps: {why}"
    )


def _stopped(callback: pl.Callback) -> str | None:
    if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None and left <= 0:
        return f"trainer.max_time was over after {timedelta(seconds=round(callback.time_elapsed()))}"
    if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
        return f"{callback.monitor} has not become better in {callback.patience} validations (early stopping)"
    return None
