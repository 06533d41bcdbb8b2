"""davis-exp test: checkpoint → results, scored where masks exist."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from davis_exp import config
from davis_exp.experiment import checkpoints
from davis_exp.experiment.evaluate import evaluate
from davis_exp.experiment.experiment import Experiment
from davis_exp.metrics.measures import SELECTED


def run(cfg: DictConfig, output: Path) -> int:
    """Tests the model of `cfg.checkpoint` on `cfg.data` in `output`; returns the exit code.

    The checkpoint brings its own model; what `cfg` leaves null (inference size and windows) is the checkpoint's too.
    Raises BadInput for a checkpoint or data that cannot be used, OverBudget if the checkpoint is over its budget.
    """
    config.check_whole(cfg, "test")
    checkpoint = checkpoints.read(cfg.checkpoint, cfg.allow)
    run = Experiment(cfg, output, composition(checkpoint, cfg.inference), checkpoint)
    run.guard()

    from davis_exp.data.split import TrainedOn

    clips = checkpoint.get("clips", {})
    run.data.trained_on = TrainedOn(frozenset(clips.get("trained", ())), frozenset(clips.get("held_out", ())))
    run.note_data("test")
    scored = evaluate(run, checkpoints.find(cfg.checkpoint))
    if scored is not None and cfg.data.get("test_split") == "holdout":  # a sweep may choose by it
        run.note(objective=SELECTED.figure(scored, "all_frames"))  # as in training
    return 0


def composition(checkpoint: Mapping[str, Any], inference: Mapping[str, Any]) -> DictConfig:
    """The config of a checkpoint with the test's own inference settings, where they are not null."""
    trained = OmegaConf.create(checkpoint["config"])
    trained.inference.update({key: value for key, value in inference.items() if value is not None})
    trained.inference.size = trained.inference.size or trained.data.size
    return trained
