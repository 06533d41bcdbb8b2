"""An experiment: a composed config, and the one model, data set, task and trainer that are made of it."""

import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from davis_exp import budget, config
from davis_exp.config.instantiate import plain, refusing
from davis_exp.data import digest
from davis_exp.experiment import build, checkpoints, starting
from davis_exp.experiment.trainer import build_trainer
from davis_exp.results.composition import composition, cost_table
from davis_exp.runs import config as stored
from davis_exp.runs import status
from davis_exp.utils import distributed, terminal

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch import nn

    from davis_exp.data.datamodule import ClipDataModule
    from davis_exp.data.flow import MotionSource
    from davis_exp.training.task import SegmentationTask
    from davis_exp.training.teacher import Teacher

log = logging.getLogger(__name__)


class Experiment:
    """What a run is made of, each made once, when it is first asked for.

    Args:
        cfg: the run's composed config.
        output: the run's folder.
        model_cfg: the config that describes the model, where that is not `cfg` but a checkpoint's.
        checkpoint: what the model is restored from (`checkpoints.read`); None: it starts as `cfg` says.
    """

    def __init__(
        self,
        cfg: DictConfig,
        output: Path,
        model_cfg: DictConfig | None = None,
        checkpoint: dict[str, Any] | None = None,
    ) -> None:
        self.cfg, self.output, self.checkpoint = cfg, output, checkpoint
        self.model_cfg = cfg if model_cfg is None else model_cfg
        self.added: list[pl.Callback] = []  # beside those of the config

    @cached_property
    def cost(self) -> budget.Cost:
        """What the model costs, counted without a weight of it."""
        return build.cost(self.model_cfg)

    def guard(self) -> None:
        """Say what the model costs, and note it in the run's status. Raises OverBudget, and then nothing is written."""
        limits = budget.Limits.of(self.model_cfg.budget)
        if self.checkpoint is not None:
            limits = replace(limits, max_ms=None)  # which was of the machine that it was trained on
        budget.guard(self.cost, limits)
        checkpoints.check_counted(self.checkpoint, self.cost.parameters + self.cost.buffers)
        composed = stored.read(self.output)
        choices = composed.choices if composed is not None and self.checkpoint is None else {}
        if line := composition(choices):
            log.info("%s", line, extra=terminal.shown(None))
        table = cost_table(self.cost.to_dict(), choices, limits.limit)
        log.info("%s", table, extra=terminal.shown(table.rich))
        split = self.cfg.data.get("test_split")
        timed = self.checkpoint is None and "ms" in budget.aims(self.model_cfg.budget)
        self.note(**limits.numbers(self.cost, timed=timed), test_split=split)

    def note(self, **fields: Any) -> None:
        """Write `fields` into the run's status.json; of several ranks the first does."""
        if distributed.is_main():
            status.update(self.output, **fields)

    def note_data(self, command: str) -> None:
        """Note in the run's status what its frames and masks are, and say where they were others before."""
        if not distributed.is_main():
            return
        before = status.known(self.output).get("data")
        now = digest.of_source(self.data.source, digest.stages(command, self.data.loading.test_split))
        if before and now and before != now:
            log.warning("the frames or masks are not those that this run began with: its scores are of both")
        self.note(data=now or before)

    @cached_property
    def motion(self) -> "MotionSource | None":
        """Where motion pictures come from."""
        return build.build_motion(self.model_cfg)

    @cached_property
    def model(self) -> "nn.Module":
        """The segmenter: the checkpoint's, or one that has loaded no weights yet."""
        if self.checkpoint is not None:
            return checkpoints.restore(self.checkpoint)
        return build.build_model(self.cfg)

    @cached_property
    def data(self) -> "ClipDataModule":
        """The sequences that are trained on and tested."""
        return build.build_data(self.cfg, self.motion)

    @cached_property
    def task(self) -> "SegmentationTask":
        """The LightningModule around the model; of a checkpoint's model, only to test it."""
        if self.checkpoint is None:
            return build.build_task(self.cfg, self.model, self.motion, self._teacher())
        from davis_exp.training.task import SegmentationTask

        return SegmentationTask(
            self.model,
            inference=build.inference(self.model_cfg),
            motion=self.motion,
            channels_last=self.model_cfg.task.channels_last,  # another layout, another rounding
        )

    def _teacher(self) -> "Teacher | None":
        """The trained model that is learnt from, of a checkpoint. Raises BadInput for one that cannot be."""
        if not self.cfg.get("teacher"):
            return None
        from davis_exp.training.teacher import Teacher

        settings = plain(self.cfg.teacher)
        path = settings.pop("checkpoint", None)
        config.check_call(Teacher, settings, "teacher", given=("model",))
        with refusing("teacher"):
            return Teacher(checkpoints.restore(starting.trained(self.cfg, "teacher", path)), **settings)

    @cached_property
    def callbacks(self) -> "dict[str, pl.Callback]":
        """The callbacks that go with training, by their names in the config."""
        return build.build_callbacks(self.cfg)

    @cached_property
    def trainer(self) -> "pl.Trainer":
        """Lightning's Trainer, with the config's callbacks where it trains."""
        return build_trainer(self.cfg, self.output, [*self.callbacks.values(), *self.added])

    def metadata(self, checkpoint: Path | None) -> dict[str, Any]:
        """What the results' metadata.json says of the model, whose weights are those of `checkpoint`."""
        digest = {} if checkpoint is None else {"checkpoint_digest": checkpoints.digest(checkpoint)}
        return {
            "model": self.model_cfg.name,
            "nparams": self.cost.parameters,
            "nflops": self.cost.flops,
            "config_digest": config.digest(self.model_cfg),
            **digest,
        }
