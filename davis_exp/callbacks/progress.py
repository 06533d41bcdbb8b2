"""Training progress where there is no terminal to draw a bar on: a plain line now and then."""

import logging
import time
from typing import Any

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class PlainProgress(pl.Callback):
    """Logs the step, its loss and the speed every `every_seconds` seconds, and J after each validation."""

    def __init__(self, every_seconds: float = 20.0) -> None:
        self.every_seconds = every_seconds
        self._said = self._began = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = self._said = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._said < self.every_seconds:
            return
        self._said = now
        done = trainer.global_step - self._first_step
        if done:
            log.info(
                "epoch %d, step %d of %d: loss %.4f, %.2f s a step",
                trainer.current_epoch,
                trainer.global_step,
                int(trainer.estimated_stepping_batches),
                float(outputs["loss"]),
                (now - self._began) / done,
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and "val/J" in trainer.callback_metrics:
            value = float(trainer.callback_metrics["val/J"])
            log.info("epoch %d, step %d: hold-out J %.4f", trainer.current_epoch, trainer.global_step, value)
