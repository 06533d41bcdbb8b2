"""davis-exp train: compose → guard → fit → test → results → score."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from davis_exp import config
from davis_exp.config.instantiate import plain, refusing
from davis_exp.data.split import check_unseen
from davis_exp.experiment import build, checkpoints, starting
from davis_exp.experiment.evaluate import evaluate
from davis_exp.experiment.experiment import Experiment
from davis_exp.launch import resuming
from davis_exp.metrics.measures import VALIDATION
from davis_exp.results.table import percent
from davis_exp.runs import trials
from davis_exp.runs.status import PRUNED
from davis_exp.tracking import session as tracking
from davis_exp.tracking.metrics_csv import forget_after
from davis_exp.utils import distributed, given, written
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    import pytorch_lightning as pl

log = logging.getLogger(__name__)


def run(cfg: DictConfig, output: Path) -> int:
    """Trains the composed model in `output` and tests it; returns the exit code.

    Raises BadInput for settings or data that cannot work and OverBudget before anything is loaded or written.
    """
    config.check_whole(cfg, "train")
    found = resuming.checkpoints(cfg, output)
    if cfg.seed < 0:
        raise BadInput(f"seed: must be at least 0, got {cfg.seed}")
    run = Experiment(cfg, output)
    run.guard()

    # Lightning is slow to import: not before the budget has been checked.
    import pytorch_lightning as pl

    from davis_exp.training import ending, settings
    from davis_exp.training.callbacks.pruning import Pruning

    written.sweep_folder(output / "checkpoints")
    begun, kept = checkpoints.newest_whole(found)
    run.added += _changes(kept["config"], cfg) if kept is not None else []
    pruning = Pruning(trials.listener(cfg.get("search"))) if trials.inside() else None
    run.added += [pruning] if pruning is not None else []
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    task, trainer, data = run.task, run.trainer, run.data  # what is refused is refused before data is read
    data.setup("fit")
    run.note_data("train")
    if kept is not None:
        task.learnt_from = frozenset(kept.get("clips", {}).get("trained", ()))
        checkpoints.fill(run.model, kept)  # refuses another model's weights; Lightning loads it again
    else:
        before = starting.learnt_from(cfg)
        for key, clips in before.items():
            with refusing(key):
                check_unseen(clips, data.val_sequences)
        task.learnt_from = frozenset().union(*before.values())
        with distributed.one_first():
            starting.begin(run.model, cfg)
    if distributed.is_main():
        forget_after(output, kept["global_step"] if kept is not None else 0)
    data.features = build.build_features(cfg, run.model, data.loading.size)
    data.same_batches = settings.overfits(cfg.trainer)
    if not data.val_sequences:
        trainer.limit_val_batches = 0
    settings.check_monitors(run.callbacks, validated=bool(data.val_sequences and trainer.limit_val_batches))
    if (session := tracking.current()) is not None:
        session.log_split(data)
    with settings.naming(run.callbacks):
        trainer.fit(task, datamodule=data, ckpt_path=None if begun is None else str(begun), weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if pruning is not None and pruning.pruned is not None:
        log.info("search: given up at step %d, with a J of %s", trainer.global_step, percent(pruning.pruned))
        run.note(objective=pruning.pruned)
        return PRUNED
    if said := ending.said(trainer, 0 if kept is None else kept["global_step"]):
        log.warning("%s", said)
    return _test(run)


def _test(run: Experiment) -> int:
    """Test the best weights, or the last where nothing was held out, and note how good they were there."""
    task, trainer, data = run.task, run.trainer, run.data
    best, last = (run.output / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    holdout = trainer.callback_metrics.get(VALIDATION)
    if not data.val_sequences:
        log.info(
            "data.holdout=0: trained on all %d clips; the last checkpoint is tested",
            len(data.train_sequences),
        )
    elif not best.is_file():
        log.warning("nothing was validated: the last weights are tested")
    tested = best if data.val_sequences else last
    if tested.is_file():
        chosen = checkpoints.weights(tested)
        task.load_state_dict(chosen["state_dict"])
        if tested == best:
            holdout = checkpoints.score(chosen, VALIDATION, default=holdout)
    scored = evaluate(run, tested if tested.is_file() else None)
    run.note(objective=None if holdout is None else float(holdout))
    if scored is not None:
        log.info("score: %s", run.output / "score.json")
    return 0


def _changes(trained: dict[str, Any], cfg: DictConfig) -> "list[pl.Callback]":
    """What puts the settings in force that a resumed run may have changed since `trained`. Raises BadInput for others."""
    given.bounded(trained, "resume: the config in last.ckpt")
    changes = resuming.accepted(trained, plain(cfg), cfg.resume_allow)
    if not changes:
        return []
    from davis_exp.training.callbacks.changed import ChangedSettings

    for key, change in changes.items():
        log.info("goes on with %s %s", key, resuming.said(change))
    if any(key in resuming.LENGTHS for key in changes):
        log.info("the schedule's length follows: the learning rate goes on where it now stands")
    return [ChangedSettings()]
