"""davis-exp test: checkpoint → results, scored where masks exist."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from davis_exp import budget, config
from davis_exp.experiment import build, checkpoints
from davis_exp.experiment.evaluate import evaluate
from davis_exp.launch import status
from davis_exp.metrics.measures import SELECTED
from davis_exp.utils import distributed

log = logging.getLogger(__name__)


def run(cfg: DictConfig, output: Path) -> int:
    """Tests the model of `cfg.checkpoint` on `cfg.data` in `output`; returns the exit code.

    The checkpoint brings its own model; what `cfg` leaves null (inference size and windows) is the checkpoint's too.
    Raises BadInput for a checkpoint or data that cannot be used, OverBudget if the checkpoint is over its budget.
    """
    checkpoint = checkpoints.read(cfg.checkpoint, cfg.allow)
    trained = composition(checkpoint, cfg.inference)
    cost = build.cost(trained)
    budget.guard(cost, trained.budget.limit)
    log.info("%s", cost.table())
    if distributed.here().first:
        split = cfg.data.get("test_split")
        status.update(output, nparams=cost.parameters, nflops=cost.flops, test_split=split)

    from davis_exp.data.split import Past
    from davis_exp.training.task import SegmentationTask

    data = build.build_data(cfg)
    data.motion = build.build_motion(trained)
    clips = checkpoint.get("clips", {})
    data.past = Past(frozenset(clips.get("trained", ())), frozenset(clips.get("held_out", ())))
    task = SegmentationTask(
        checkpoints.restore(checkpoint),
        inference=build.inference(trained),
        motion=data.motion,
        channels_last=trained.task.channels_last,  # another layout, another rounding
    )
    metadata = {
        "model": trained.name,
        "nparams": cost.parameters,
        "nflops": cost.flops,
        "config_digest": config.digest(trained),
        "checkpoint_digest": checkpoints.digest(checkpoints.find(cfg.checkpoint)),
    }
    trainer = build.build_trainer(cfg, output, [])
    scored = evaluate(trainer, task, data, output, metadata)
    if scored is not None and cfg.data.get("test_split") == "holdout":  # a sweep may choose by it
        status.update(output, objective=SELECTED.figure(scored, "all_frames"))  # as in training
    return 0


def composition(checkpoint: Mapping[str, Any], inference: Mapping[str, Any]) -> DictConfig:
    """The config of a checkpoint with the test's own inference settings, where they are not null."""
    trained = OmegaConf.create(checkpoint["config"])
    trained.inference.update({key: value for key, value in inference.items() if value is not None})
    trained.inference.size = trained.inference.size or trained.data.size
    return trained
