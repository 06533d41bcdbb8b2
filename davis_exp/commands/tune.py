"""davis-exp tune: a learning rate or a batch size to begin with, by Lightning's finders."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from davis_exp import config
from davis_exp.config.instantiate import plain
from davis_exp.experiment import build, starting
from davis_exp.experiment.experiment import Experiment
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

WIDTH = 60  # characters of a curve
BARS = "▁▂▃▄▅▆▇█"


def run(cfg: DictConfig, output: Path) -> int:
    """Prints a curve and the override to use for the composition; leaves nothing behind. Returns the exit code.

    Raises BadInput for settings or data that cannot work, OverBudget for a model over its limit.
    """
    config.check_whole(cfg, "train")
    settings = plain(cfg.get("tune") or {})
    if not settings:
        raise BadInput("tune what? davis-exp tune lr, or davis-exp tune batch")
    for name, value in settings.items():
        if (
            not given.number(value, 0)
            or not value
            or (name in ("steps", "first", "most") and int(value) != value)
        ):
            raise BadInput(
                f"tune.{name}: give a {'number' if name in ('lowest', 'highest') else 'whole number'} above 0"
            )
    find = _learning_rate if "lowest" in settings else _batch_size
    # As long as it takes, and nothing beside it.
    steps = {"max_steps": 10**6, "max_epochs": -1, "max_time": None, "limit_val_batches": 0, "debug": False}
    trainer = {"trainer": {**plain(cfg.trainer), **steps, "overfit_batches": 0.0, "limit_train_batches": 1.0}}
    trainer["trainer"].update(
        val_check_interval=1.0, check_val_every_n_epoch=10**6, accumulate_grad_batches=1
    )
    with tempfile.TemporaryDirectory(prefix="davis-exp-tune-") as folder:
        free = OmegaConf.merge(cfg, {"logger": None, "callbacks": None})
        assert isinstance(free, DictConfig)
        OmegaConf.set_struct(free, False)
        free.merge_with(trainer)
        return find(Experiment(free, Path(folder)), settings)


def _ready(run: Experiment) -> tuple[Any, Any, Any]:
    import pytorch_lightning as pl

    run.guard()
    pl.seed_everything(run.cfg.seed, workers=True, verbose=False)
    task, trainer, data = run.task, run.trainer, run.data
    data.setup("fit")
    starting.begin(run.model, run.cfg)
    data.features = build.build_features(run.cfg, run.model, data.loading.size)
    return trainer, task, data


def _learning_rate(run: Experiment, settings: dict[str, Any]) -> int:
    from davis_exp.training import finders

    if not settings["lowest"] < settings["highest"]:
        raise BadInput("tune.lowest: must be below tune.highest")
    found = finders.learning_rate(*_ready(run), **settings)
    curve = [(rate, loss) for rate, loss in found.curve if math.isfinite(loss)]
    if curve:
        print(f"loss at learning rates from {curve[0][0]:.1e} to {curve[-1][0]:.1e}:")
        print(f"  {sparkline([loss for _, loss in curve])}")
        rate, loss = min(curve, key=lambda pair: pair[1])
        print(f"  from {curve[0][1]:.4f}, at its lowest {loss:.4f} at {rate:.1e}")
    if found.value is None:
        raise BadInput(
            f"tune.steps: {settings['steps']} are too few to say anything; give more, as tune.steps=100"
        )
    print(
        f"it falls most steeply at {found.value:.1e}; to use it: optimizer.lr={found.value:.1e}", flush=True
    )
    return 0


def _batch_size(run: Experiment, settings: dict[str, Any]) -> int:
    from davis_exp.training import finders

    if settings["first"] > settings["most"]:
        raise BadInput("tune.first: must be no more than tune.most")
    trainer, task, data = _ready(run)
    found = finders.batch_size(trainer, task, data, **settings)
    if found.value is None:
        raise BadInput(
            f"tune.first: not even a batch of {settings['first']} fits into memory; make data.size smaller"
        )
    print("clips a second, by the clips in a batch:")
    widest = max(speed for _, speed in found.curve)
    for size, speed in found.curve:
        print(f"  {size:5.0f}  {speed:8.2f}  {'█' * round(30 * speed / widest)}")
    largest = int(found.value)
    enough = data.loading.clips_per_epoch is not None and 2 * largest > data.loading.clips_per_epoch
    why = (
        "tune.most ends it there"
        if 2 * largest > settings["most"]
        else "an epoch has no more clips"
        if enough
        else "twice as many do not fit into memory"
    )
    fastest = int(max(found.curve, key=lambda pair: pair[1])[0])
    print(
        f"the largest that fits is {largest} ({why}), the fastest a clip {fastest}; to use it: data.batch_size={largest}"
    )
    return 0


def sparkline(values: Sequence[float]) -> str:
    """Values as bars of text, at most `WIDTH` of them, each the mean of its share."""
    width = min(WIDTH, len(values))
    parts = [values[i * len(values) // width : (i + 1) * len(values) // width] for i in range(width)]
    means = [math.fsum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    return "".join(BARS[round((len(BARS) - 1) * (mean - low) / ((high - low) or 1.0))] for mean in means)
