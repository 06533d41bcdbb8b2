"""A trial of a search that its validations so far call hopeless is ended."""

import logging
from collections.abc import Callable

import pytorch_lightning as pl

from davis_exp.metrics.measures import VALIDATION
from davis_exp.utils import distributed
from davis_exp.utils.errors import brief

log = logging.getLogger(__name__)


class Pruning(pl.Callback):
    """After each validation tells its J, and stops the training where that is answered by True.

    Validations of several trials are compared by epoch, or, where they come at other times, by step.

    Args:
        hopeless: called with J and the number of the epoch or step; of several ranks by the first.

    Attributes:
        pruned: the J at which the training was stopped; None while it goes on.
    """

    def __init__(self, hopeless: Callable[[float, int], bool] | None) -> None:
        self.hopeless = hopeless
        self.pruned: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" or VALIDATION not in trainer.callback_metrics:
            return
        j = float(trainer.callback_metrics[VALIDATION])
        by_epoch = trainer.check_val_every_n_epoch is not None and trainer.val_check_interval == 1.0
        stop = False
        if self.hopeless is not None:
            try:
                stop = self.hopeless(j, trainer.current_epoch + 1 if by_epoch else trainer.global_step)
            except Exception as error:  # whatever is wrong with the search, the training is sound
                log.warning("search: J of this validation could not be told (%s)", brief(error))
        (stop,) = distributed.any_of(stop)
        if stop:
            self.pruned = j
            trainer.should_stop = True
