"""Settings that were changed where a run is gone on with, put in force over what the checkpoint restores."""

from typing import Any

import pytorch_lightning as pl
from torch.optim.lr_scheduler import LambdaLR


class ChangedSettings(pl.Callback):
    """Gives the restored optimizer the settings of the config (rates, decays, betas), and the schedule its new length.

    The optimizer's state (momenta) and the schedule's place stay as they were. Early stopping has its own patience.
    """

    def __init__(self) -> None:
        self._patience: dict[pl.Callback, int] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Before Lightning restores the callbacks."""
        if stage == "fit":
            self._patience = {c: c.patience for c in trainer.early_stopping_callbacks}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for callback in trainer.early_stopping_callbacks:
            callback.patience = self._patience[callback]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        wanted: Any = pl_module.configure_optimizers()
        groups = trainer.optimizers[0].param_groups
        for group, new in zip(groups, wanted["optimizer"].param_groups, strict=True):
            before = group.get("initial_lr", group["lr"])
            rate = group["lr"] * new["initial_lr"] / before if before else new["initial_lr"]
            group.update({name: value for name, value in new.items() if name != "params"}, lr=rate)
        scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
        scheduler.base_lrs = [group["initial_lr"] for group in groups]
        if isinstance(scheduler, LambdaLR):  # ours all are: what they come to is known for every step
            for group, factor in zip(groups, scheduler.lr_lambdas, strict=True):
                group["lr"] = group["initial_lr"] * factor(scheduler.last_epoch)
            scheduler._last_lr = [group["lr"] for group in groups]
