"""Which checkpoints a run keeps, always under the same names."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class RunCheckpoint(ModelCheckpoint):
    """`checkpoints/<filename>.ckpt` in the run's folder, whatever the logger.

    Args:
        filename: the checkpoint's name: "best" is tested, "last" is resumed from.
        monitor: the metric whose best checkpoint is kept; None keeps the latest.
        mode: "max" or "min" of `monitor`.
    """

    def __init__(self, filename: str, monitor: str | None = None, mode: str = "max") -> None:
        super().__init__(
            filename=filename,
            monitor=monitor,
            mode=mode,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        # A training that max_steps ends in mid-epoch would end unvalidated; one told to stop is validated first.
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)
