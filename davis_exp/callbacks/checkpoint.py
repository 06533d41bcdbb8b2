"""Which checkpoints a run keeps, always under the same names."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from davis_exp.errors import BadInput

LOGGED = ("val/J", "train/loss")  # by SegmentationTask


class RunCheckpoint(ModelCheckpoint):
    """`checkpoints/<filename>.ckpt` in the run's folder, whatever the logger.

    Args:
        filename: the checkpoint's name: "best" is tested, "last" is resumed from.
        monitor: the metric whose best checkpoint is kept; None keeps the latest.
        mode: "max" or "min" of `monitor`.
    """

    def __init__(self, filename: str, monitor: str | None = None, mode: str = "max") -> None:
        if monitor not in (None, *LOGGED):
            raise BadInput(
                f"callbacks.{filename}.monitor: {monitor!r} is not logged; choose {', '.join(LOGGED)} or null"
            )
        super().__init__(
            filename=filename,
            monitor=monitor,
            mode=mode,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            # The latest is kept whether or not there was a validation.
            save_on_train_epoch_end=monitor is None,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        # A training that max_steps ends in mid-epoch would end unvalidated; one told to stop is validated first.
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True

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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)
