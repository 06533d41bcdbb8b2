"""Which checkpoints a run keeps, always under the same names, and when: also where training is interrupted."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from davis_exp.metrics.measures import VALIDATION
from davis_exp.training import position
from davis_exp.utils import distributed, interrupts, written
from davis_exp.utils.errors import BadInput

LOGGED = (VALIDATION, "train/loss")  # by SegmentationTask


class RunCheckpoint(ModelCheckpoint):
    """`checkpoints/<filename>.ckpt` in the run's folder, whatever the logger.

    Without a `monitor` it is what a run is resumed from: kept after each epoch, before the validation of one, every so
    many minutes, and where a signal interrupts training (which then ends with KeyboardInterrupt). Each stands before a
    batch, so that going on repeats nothing but a validation.

    Args:
        filename: the checkpoint's name: "best" is tested, "last" is resumed from.
        monitor: the metric whose best checkpoint is kept; None keeps the latest.
        mode: "max" or "min" of `monitor`.
        every_minutes: how much of a long epoch may be lost; None: all of it.
    """

    def __init__(
        self,
        filename: str,
        monitor: str | None = None,
        mode: str = "max",
        every_minutes: float | None = None,
    ) -> None:
        if every_minutes is not None and not every_minutes > 0:
            raise BadInput(f"callbacks.{filename}.every_minutes: must be above 0, got {every_minutes}")
        super().__init__(
            filename=filename,
            monitor=monitor,
            mode=mode,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            # The latest is kept whether or not there was a validation.
            save_on_train_epoch_end=monitor is None,
        )
        self.latest = monitor is None
        self.every_seconds = 60 * every_minutes if every_minutes else float("inf")
        self._saved = 0.0  # when

    # ---- when ---------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        position.begin(trainer)
        self._saved = time.monotonic()
        if self.latest:
            interrupts.wait(True)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Here all of the batch before has been logged, and nothing of this one is done."""
        if not self.latest or batch_idx % trainer.accumulate_grad_batches:
            return  # gradients of half a step are in no checkpoint
        late = time.monotonic() - self._saved >= self.every_seconds
        asked, late = distributed.any_of(interrupts.asked(), late)
        if batch_idx and (asked or late or _validates_next(trainer, batch_idx)):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
        if asked:
            interrupts.wait(False)
            raise KeyboardInterrupt  # another rank was asked

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        # A training that max_steps ends in mid-epoch would end unvalidated; one told to stop is validated first.
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_start(trainer, pl_module)
        self._wait(trainer, False)  # it may be long, and what it is of has been saved

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._wait(trainer, True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._wait(trainer, False)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        super().on_exception(trainer, pl_module, exception)
        interrupts.forget()

    def _wait(self, trainer: pl.Trainer, for_us: bool) -> None:
        if self.latest and trainer.state.fn == "fit":
            interrupts.wait(for_us)

    # ---- what ---------------------------------------------------------------------------------------

    def _save_checkpoint(self, trainer: pl.Trainer, filepath: str) -> None:
        task: Any = trainer.lightning_module
        if trainer.state.fn == "fit" and hasattr(task, "look_at_losses"):
            task.look_at_losses()  # keeps the batch that broke them, before the weights are looked at
        if not all(torch.isfinite(p).all() for p in trainer.lightning_module.parameters()):
            raise BadInput(
                f"the weights hold NaN at step {trainer.global_step}: training has diverged; lower optimizer.lr or set "
                f"trainer.gradient_clip_val=1 ({Path(filepath).name} is of an earlier step)"
            )
        for logger in trainer.loggers:  # what a checkpoint has seen is on the disk before it
            logger.save()
        super()._save_checkpoint(trainer, filepath)
        self._saved = time.monotonic()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best score also where the run's folder has been moved since."""
        state = dict(state_dict)
        if state["dirpath"] != self.dirpath:

            def moved(path: str) -> str:
                return str(Path(str(self.dirpath)) / Path(path).name) if path else path

            for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
                state[name] = moved(state[name])
            state["best_k_models"] = {moved(path): score for path, score in state["best_k_models"].items()}
            state["dirpath"] = self.dirpath
        super().load_state_dict(state)
        self.current_score: Tensor | None = state.get("current_score")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints appear when they are whole: written beside their place, whatever TMPDIR is."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with written.atomic_file(Path(path)) as part, open(part, "wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's own words for what the file said
                if error.__context__ is not None and isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise


def _validates_next(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a validation comes before the step after the one that begins with this batch."""
    ends = 0 < trainer.max_steps <= trainer.global_step + 1
    after = min(batch_idx + trainer.accumulate_grad_batches, int(trainer.num_training_batches))
    return ends or any(position.validated_at(trainer, done) for done in range(batch_idx + 1, after + 1))
