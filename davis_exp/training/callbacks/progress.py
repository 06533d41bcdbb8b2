"""How training goes: a line that is drawn over on a terminal, and a plain line in the log now and then."""

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from davis_exp.metrics.measures import HOLDOUT, VALIDATION
from davis_exp.utils import distributed, terminal

if TYPE_CHECKING:
    from rich.progress import Progress

log = logging.getLogger(__name__)

REDRAWN = 0.5  # seconds; each time the loss is fetched from the device


class PlainProgress(pl.Callback):
    """Logs the step, its loss and the speed every `every_seconds` seconds, and J after each validation.

    On a terminal these lines go to the log file alone: there one line shows them all, and the time that is left.
    """

    def __init__(self, every_seconds: float = 20.0) -> None:
        self.every_seconds = every_seconds
        self._said = self._drawn = self._began = 0.0
        self._first_step = 0
        self._line: Progress | None = None
        self._figures: dict[str, str] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = self._said = time.monotonic()
        self._first_step = trainer.global_step
        self._start("training")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        steps = int(trainer.estimated_stepping_batches)
        if self._line is not None and now - self._drawn >= REDRAWN:
            self._drawn = now
            self._figures |= {"epoch": f"{trainer.current_epoch}", "loss": f"{float(outputs['loss']):.4f}"}
            self._draw("training", trainer.global_step, steps)
        if now - self._said < self.every_seconds:
            return
        self._said = now
        done = trainer.global_step - self._first_step
        if done:
            log.info(
                "epoch %d, step %d of %d: loss %.4f, %.2f s a step",
                trainer.current_epoch,
                trainer.global_step,
                steps,
                float(outputs["loss"]),
                (now - self._began) / done,
                extra=self._extra(),
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking and VALIDATION in trainer.callback_metrics:
            value = float(trainer.callback_metrics[VALIDATION])
            self._figures[HOLDOUT] = f"{value:.4f}"
            log.info(
                "epoch %d, step %d: %s %.4f",
                trainer.current_epoch,
                trainer.global_step,
                HOLDOUT,
                value,
                extra=self._extra(),
            )

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._figures = {}
        self._start("testing")

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._draw("testing", batch_idx + 1, int(trainer.num_test_batches[0]))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Also after an exception: the terminal has its cursor back."""
        if self._line is not None:
            self._line.stop()
            self._line = None

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.teardown(trainer, pl_module, "")

    def _start(self, label: str) -> None:
        if not sys.stderr.isatty() or not distributed.is_main() or self._line is not None:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        # Lines printed meanwhile go above it, but not if they are piped elsewhere.
        self._line = Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
        )
        self._line.add_task(label, total=None)
        self._line.start()

    def _draw(self, label: str, done: int, total: int) -> None:
        if self._line is not None:
            told = ", ".join([label, *(f"{name} {value}" for name, value in self._figures.items())])
            self._line.update(self._line.task_ids[0], description=told, completed=done, total=total)

    def _extra(self) -> dict[str, Any] | None:
        return terminal.shown(None) if self._line is not None else None
