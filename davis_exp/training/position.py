"""Going on exactly where a training was left: what a checkpoint says of the place, and where loaders begin.

Lightning saves its counters as they stand in the middle of whatever calls for a checkpoint, and each such place needs
its own repair afterwards. Here every checkpoint stands at one of two: before a batch, or before an epoch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl


def settle(checkpoint: dict[str, Any], batches: int) -> None:
    """Bring a checkpoint's counters to the place that comes next: a batch of an epoch of `batches`, or a new epoch."""
    fit = checkpoint["loops"]["fit_loop"]
    epochs, batch = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    whole = batch["current"]["completed"] >= batches
    for count in (epochs["total"], epochs["current"]):
        count["ready"] = count["started"]
        count["processed"] = count["completed"] = count["started"] - (not whole)
    for name, count in (("total", batch["total"]), ("current", batch["current"])):
        done = 0 if whole and name == "current" else count["completed"]
        count.update(ready=done, started=done, processed=done, completed=done)
    batch["is_last_batch"] = False
    validation = fit["epoch_loop.val_loop.batch_progress"]
    for count in (validation["total"], validation["current"]):
        count.update(ready=0, started=0, processed=0, completed=0)
    validation["is_last_batch"] = False
    # Lightning's own count of what loggers call the step; where each batch is a step, and where several make one.
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint["global_step"]


def begin(trainer: "pl.Trainer") -> None:
    """At the start of a training: have its loader begin where the checkpoint stands, and end what has been ended early.

    Lightning makes iterators, and loader processes draw ahead, before it has read the checkpoint.
    """
    trainer.should_stop = trainer.should_stop or _stopped_early(trainer)
    loop = trainer.fit_loop
    epochs: Any = loop.epoch_progress.current
    within = epochs.started > epochs.processed
    batches = loop.epoch_loop.batch_progress.current.completed if within else 0
    if (epochs.processed, batches) == (0, 0):
        return
    loader: Any = trainer.train_dataloader
    loader.sampler.begin(epochs.processed, batches * loader.batch_size)
    assert loop._data_fetcher is not None
    iter(loop._data_fetcher)
    if not batches:  # an epoch that begins is not one that is gone on with
        loop.epoch_loop.restarting = False
    elif trainer.enable_validation and validated_at(trainer, batches):
        # Lightning passes by the validation that has been, and counts a step for it.
        loop.epoch_loop._batches_that_stepped = trainer.global_step - 1


def validated_at(trainer: "pl.Trainer", batches: int) -> bool:
    """Whether a validation, if there is any, comes where so many batches of the running epoch are done."""
    every, interval = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not interval:  # by the clock: nobody knows
        return False
    if every is not None:
        return (trainer.current_epoch + 1) % every == 0 and batches % interval == 0
    return (trainer.current_epoch * int(trainer.num_training_batches) + batches) % interval == 0


def _stopped_early(trainer: "pl.Trainer") -> bool:
    """Whether a callback has ended the training that is gone on with: it was tested, or about to be."""
    from pytorch_lightning.callbacks import EarlyStopping
    from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

    def stops(callback: EarlyStopping) -> bool:
        if callback.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            return callback.wait_count >= callback.patience  # which may have been raised
        return callback.stopping_reason is not EarlyStoppingReason.NOT_STOPPED

    return any(stops(callback) for callback in trainer.early_stopping_callbacks)
