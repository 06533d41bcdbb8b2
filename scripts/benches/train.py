"""What the framework adds to training: `davis-exp train` against a bare loop, and how long steps wait for data.

    scripts/bench train ../davis [--steps 20] [--json F] [OVERRIDE …]

Both train the composed model with its loss, optimizer, schedule and clipping, where `trainer` says. The bare loop is as
short as PyTorch allows and is given the very batches, in memory. The other one is what `davis-exp train` runs: Lightning,
its callbacks and logger, and batches from the data module's workers. A third runs it on the bare loop's batches: what is
left is the framework alone. Steps are counted from the third on, when all is warm; validation is left out. Wall and CPU
seconds of this process per step, medians of rounds in which they take turns; on a GPU, memory at its peak too. Waiting is
the time that the training process spends asking for the next batch.
"""

import copy
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import _report
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

from davis_exp.config import conf_dir
from davis_exp.config.instantiate import plain
from davis_exp.experiment import build
from davis_exp.experiment.trainer import build_trainer
from davis_exp.training import settings

WARM = 2  # steps
CUDA = torch.cuda.is_available()  # asking takes a tenth of a millisecond


class Stopwatch(pl.Callback):
    """When each step ended: wall and CPU seconds."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.look()

    def look(self) -> None:
        if CUDA:
            torch.cuda.synchronize()
        self.ends.append((time.perf_counter(), time.process_time()))

    def per_step(self) -> tuple[float, float]:
        (wall, cpu), (wall_end, cpu_end) = self.ends[WARM - 1], self.ends[-1]
        steps = len(self.ends) - WARM
        return 1000 * (wall_end - wall) / steps, 1000 * (cpu_end - cpu) / steps


class Waiting:
    """A loader whose `seconds` of waiting for each batch are counted."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader, self.seconds = loader, []  # type: ignore[var-annotated]

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.seconds.append(time.perf_counter() - began)
            if batch is None:
                return
            yield batch


class Experiment:
    """The composed experiment, started anew for every run."""

    def __init__(self, cfg: DictConfig, steps: int, folder: Path) -> None:
        self.cfg, self.steps, self.folder = cfg, steps, folder
        self.motion = build.build_motion(cfg)
        self.data = build.build_data(cfg, self.motion)
        self.data.setup("fit")
        self.data.prepare_data()
        self.model = build.build_model(cfg)
        self.batches = list(itertools.islice(self.data.train_dataloader(), steps))
        self.device = torch.device("cuda" if cfg.trainer.accelerator == "gpu" else "cpu")

    def bare(self) -> tuple[float, float]:
        task = build.build_task(self.cfg, copy.deepcopy(self.model), self.motion)
        model, loss = task.model.to(self.device).train(), task.loss
        optimizer = task.optimizer(
            [{"params": [p for p in model.parameters() if p.requires_grad], "name": "all"}]
        )
        schedule = task.scheduler(optimizer, total_steps=self.steps)
        watch = Stopwatch()
        precision = settings.translated(plain(self.cfg.trainer)).get("precision")  # this machine's
        dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
        mixed = torch.autocast(self.device.type, dtype, enabled=dtype is not None)
        scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        for batch in self.batches:
            frames = batch["frames"].to(self.device).float().div_(255)
            masks = batch["masks"].to(self.device).float()
            with mixed:
                prediction, _ = model(frames)
                value = loss(prediction, masks, frames)
            optimizer.zero_grad()
            scaler.scale(value).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), self.cfg.trainer.gradient_clip_val)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            watch.look()
        return watch.per_step()

    def framework(self, loader: Iterable[Any]) -> tuple[float, float]:
        task = build.build_task(self.cfg, copy.deepcopy(self.model), self.motion)
        watch = Stopwatch()
        output = Path(tempfile.mkdtemp(dir=self.folder))
        trainer = build_trainer(self.cfg, output, [*build.build_callbacks(self.cfg).values(), watch])
        trainer.fit(task, train_dataloaders=loader)
        return watch.per_step()

    def whole(self) -> tuple[tuple[float, float], float]:
        """As `framework`, with batches from workers; and the milliseconds that a step waits for one."""
        loader = Waiting(self.data.train_dataloader())
        figures = self.framework(loader)
        return figures, 1000 * statistics.mean(loader.seconds[WARM : self.steps])


def main() -> None:
    parser = _report.parser(__doc__, rounds=3)
    parser.add_argument("data", type=Path, help="a labelled data set in DAVIS layout")
    parser.add_argument("overrides", nargs="*", help="of the config, as for davis-exp train")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_intermixed_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    report = _report.Report("train", ("torch", "pytorch-lightning", "timm", "segmentation-models-pytorch"))
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [f"data.root={args.data.resolve()}", *args.overrides])
    with open_dict(cfg):
        cfg.trainer.update(max_epochs=1, max_steps=args.steps, limit_val_batches=0)
        cfg.data.clips_per_epoch = args.steps * cfg.data.batch_size
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(cfg, args.steps, Path(folder))
        runs: dict[str, Callable[[], Any]] = {
            "bare loop": experiment.bare,
            "davis-exp train": experiment.whole,
            "davis-exp train, batches in memory": lambda: experiment.framework(Waiting(experiment.batches)),
        }
        found: dict[str, list[Any]] = {name: [] for name in runs}
        peaks: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                _report.reset_peak()
                found[name].append(run())
                peaks[name] += _report.peak()
    waits = [wait for _, wait in found["davis-exp train"]]
    found["davis-exp train"] = [figures for figures, _ in found["davis-exp train"]]
    wall, cpu = (
        {n: report.figure(f"{n}: {what}", [v[k] for v in found[n]], f"ms {what} a step") for n in found}
        for k, what in enumerate(("wall", "CPU"))
    )
    for name in runs:
        report.say(f"  {name}: {1000 * cfg.data.batch_size * cfg.data.clip_length / wall[name]:.1f} frames/s")
        if peaks[name]:
            report.figure(f"{name}: memory of the GPU", peaks[name], "MB at its peak")
    waiting = report.figure("davis-exp train: waiting for data", waits, "ms a step")
    for name in list(runs)[1:]:
        report.ratio(f"wall, {name} / bare loop", wall[name] / wall["bare loop"], 1.03, at_least=False)
        report.ratio(f"CPU, {name} / bare loop", cpu[name] / cpu["bare loop"])
    report.ratio("waiting / step", waiting / wall["davis-exp train"], 0.05, at_least=False)
    report.write(args.json)


if __name__ == "__main__":
    main()
