"""davis-exp train: compose → guard → fit → test → results → score."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from davis_exp import budget, config
from davis_exp.config.instantiate import plain
from davis_exp.experiment import build, checkpoints
from davis_exp.experiment.evaluate import evaluate
from davis_exp.launch import resuming, status
from davis_exp.metrics.measures import VALIDATION
from davis_exp.results.composition import composition, cost_table
from davis_exp.results.pages.subject import Run
from davis_exp.tracking import session as tracking
from davis_exp.tracking.metrics_csv import forget_after
from davis_exp.utils import distributed, given, terminal, written
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    import pytorch_lightning as pl

log = logging.getLogger(__name__)


def run(cfg: DictConfig, output: Path) -> int:
    """Trains the composed model in `output` and tests it; returns the exit code.

    Raises BadInput for settings or data that cannot work and OverBudget before anything is loaded or written.
    """
    left = resuming.checkpoints(cfg, output)
    cost = build.cost(cfg)
    budget.guard(cost, cfg.budget.limit)
    choices = (Run.of(output) or Run(output)).choices
    if composed := composition(choices):
        log.info("%s", composed, extra=terminal.shown(None))
    table = cost_table(cost.to_dict(), choices, cfg.budget.limit)
    log.info("%s", table, extra=terminal.shown(table.rich))
    first = distributed.here().first  # of the processes that train together
    split = cfg.data.get("test_split")
    if first:
        status.update(output, nparams=cost.parameters, nflops=cost.flops, test_split=split)

    # Lightning is slow to import: not before the budget has been checked.
    import pytorch_lightning as pl

    build.check(cfg)
    last, kept = _newest_whole(left)
    changed = _changes(kept["config"], cfg) if kept is not None else []
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data = build.build_data(cfg)
    data.setup("fit")  # bad data is found before a model is built
    model = build.build_model(cfg)
    if kept is not None:
        checkpoints.fill(model, kept)  # refuses another model's weights; Lightning loads it again
    else:
        with distributed.in_turn():
            build.load_weights(model)
    if first:
        forget_after(output, kept["global_step"] if kept is not None else 0)
    data.features = build.build_features(cfg, model, data.loading.size)
    task = build.build_task(cfg, model)
    trainer = build.build_trainer(cfg, output, build.build_callbacks(cfg) + changed)
    if (session := tracking.current()) is not None:
        session.log_split(data)
    trainer.fit(task, datamodule=data, ckpt_path=None if last is None else str(last), weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.global_step < trainer.max_steps:
        log.warning(
            "trained for %d of trainer.max_steps=%d steps: trainer.max_epochs=%s came first",
            trainer.global_step,
            trainer.max_steps,
            trainer.max_epochs,
        )

    metadata = {
        "model": cfg.name,
        "nparams": cost.parameters,
        "nflops": cost.flops,
        "config_digest": config.digest(cfg),
    }
    best = output / "checkpoints" / "best.ckpt"
    holdout = trainer.callback_metrics.get(VALIDATION)
    if best.is_file():
        kept = checkpoints.weights(best)
        task.load_state_dict(kept["state_dict"])
        holdout = checkpoints.score(kept, VALIDATION, default=holdout)
        metadata["checkpoint_digest"] = checkpoints.digest(best)
    else:
        log.warning("nothing was validated: the last weights are tested")
    scored = evaluate(trainer, task, data, output, metadata)
    if first:
        status.update(output, objective=None if holdout is None else float(holdout))
    if scored is not None:
        log.info("score: %s", output / "score.json")
    return 0


def _newest_whole(found: list[Path]) -> tuple[Path | None, dict[str, Any] | None]:
    """Of a run's checkpoints, the last first: the one to go on from, and what is in it; None where there are none.

    Raises BadInput where there are some, but none that can be gone on from: starting over would replace the best.
    """
    for path in found:
        written.sweep_parts(path)
        try:
            kept = checkpoints.weights(path)
        except BadInput as error:
            log.warning("%s", error)
            continue
        if path.stem != "last":
            log.warning(
                "there is no whole last.ckpt: going on from step %d, of %s", kept["global_step"], path
            )
        return path, kept
    if found:
        raise BadInput(
            f"resume: nothing in {found[0].parent} can be gone on from, and starting over would replace what is there; "
            "start another run (resume=none)"
        )
    return None, None


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
