"""Lightning's finders of a learning rate and of a batch size, as curves."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.tuner import Tuner

from davis_exp.data.datamodule import ClipDataModule
from davis_exp.training.task import SegmentationTask

Curve = list[tuple[float, float]]


class Found(NamedTuple):
    """What a finder proposes, None where nothing can be said; and what it has seen, as pairs."""

    value: float | None
    curve: Curve


def learning_rate(
    trainer: pl.Trainer,
    task: SegmentationTask,
    data: ClipDataModule,
    *,
    lowest: float,
    highest: float,
    steps: int,
) -> Found:
    """The learning rate between `lowest` and `highest` at which the smoothed loss falls most steeply.

    It rises over so many `steps`, and ends early where the loss is four times the best. `trainer` and `task` are not to be
    used again.
    """
    task.diverges = True  # as it is meant to here
    with _quiet():
        finder = Tuner(trainer).lr_find(
            task, datamodule=data, min_lr=lowest, max_lr=highest, num_training=steps, update_attr=False
        )
        if finder is None:
            return Found(None, [])
        curve = list(zip(finder.results["lr"], finder.results["loss"], strict=False))
        return Found(finder.suggestion(), curve)


def batch_size(
    trainer: pl.Trainer, task: SegmentationTask, data: ClipDataModule, *, first: int, most: int, steps: int
) -> Found:
    """The largest number of clips in a batch, doubled from `first` up to `most`, of which some steps fit into memory."""
    fitted: dict[int, list[float]] = {}
    began = 0.0

    def begin(batch: Any, batch_idx: int) -> None:
        nonlocal began
        began = time.perf_counter()

    def end(outputs: Any, batch: Any, batch_idx: int) -> None:
        fitted.setdefault(data.batch_size, []).append(time.perf_counter() - began)

    task.on_train_batch_start, task.on_train_batch_end = begin, end  # type: ignore[method-assign]
    data.batch_size = first
    doublings = max(1, (most // first).bit_length())
    with _quiet(), _within_memory(trainer):
        Tuner(trainer).scale_batch_size(
            task,
            datamodule=data,
            mode="power",
            steps_per_trial=steps,
            init_val=first,
            max_trials=doublings,
            max_val=most + 1,  # Lightning proposes its limit untried
        )
    curve = [
        (float(size), size / min(seconds))
        for size, seconds in sorted(fitted.items())
        if len(seconds) >= steps
    ]
    return Found(curve[-1][0] if curve else None, curve)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's own account of it, and its bar."""
    from pytorch_lightning.tuner import lr_finder

    logger = logging.getLogger("pytorch_lightning")
    level, bar = logger.level, lr_finder.tqdm
    logger.setLevel(logging.CRITICAL)
    lr_finder.tqdm = _NoBar
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)
        lr_finder.tqdm = bar


class _NoBar:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def update(self) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def _within_memory(trainer: pl.Trainer) -> Iterator[None]:
    """On a CPU: an allocation beyond what is free fails, as it does on a GPU, before the kernel ends the process."""
    meminfo = Path("/proc/meminfo")
    if trainer.strategy.root_device.type != "cpu" or not meminfo.is_file():
        yield
        return
    import resource

    words = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = int(words["MemAvailable"].split()[0]) * 1024
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + int(0.9 * free)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
