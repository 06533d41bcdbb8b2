"""Which checkpoints a run keeps: the best on the hold-out and the last one, always at the same two names."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class BestAndLast(ModelCheckpoint):
    """`checkpoints/best.ckpt` by hold-out J and `checkpoints/last.ckpt`, in the run's folder whatever the logger."""

    CHECKPOINT_NAME_LAST = "last"

    def __init__(self, monitor: str = "val/J", mode: str = "max") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_last=True,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        # A training that ends in mid-epoch by max_steps would end unvalidated; one told to stop is validated first.
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)
