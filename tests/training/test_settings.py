"""What people ask of Lightning: it works, gone on with or not, or is refused by its key before anything is trained."""

import itertools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from davis_exp.commands import train
from davis_exp.data.clips import ClipDataset
from davis_exp.training import settings
from davis_exp.training.task import SegmentationTask
from davis_exp.utils import interrupts
from davis_exp.utils.errors import BadInput

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=4", "data.test=1", "data.length=4"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=2", "data.workers=0"),
    *("data.clips_per_epoch=12", "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "optimizer.lr=0.1"),
)
EARLY = "+callbacks.early={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: val/J, mode: max"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where to train; the place of each validation, in batches of the training, is in `validated`."""
    yield tmp_path
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning has it ignored after one
    interrupts.forget()


@pytest.fixture
def run(compose, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """run(name, overrides…, stop=batch) trains, or goes on, in folder/name: (clips drawn, where it validated, trainer)."""

    def trained(name: str, *overrides: str, stop: int = 0) -> tuple[list[int], list[int], pl.Trainer]:
        drawn: list[int] = []
        validated: list[int] = []
        trainers: list[pl.Trainer] = []
        draw, begins = ClipDataset.__getitem__, SegmentationTask.on_validation_epoch_start

        def noting(self: ClipDataset, address: tuple[int, int]) -> Any:
            clip = draw(self, address)
            drawn.append(int(clip["frames"].long().square().sum()))
            return clip

        def beginning(self: SegmentationTask) -> None:
            validated.append(self.trainer.fit_loop.epoch_loop.total_batch_idx + 1)
            begins(self)

        def asked() -> bool:
            return bool(stop) and len(drawn) > 2 * stop

        with monkeypatch.context() as patch:
            patch.setattr(ClipDataset, "__getitem__", noting)
            patch.setattr(SegmentationTask, "on_validation_epoch_start", beginning)
            patch.setattr(interrupts, "asked", asked)
            patch.setattr(SegmentationTask, "setup", lambda self, stage: trainers.append(self.trainer))
            (folder / name).mkdir(exist_ok=True)
            cfg = compose(*TINY, "resume=auto", *overrides)
            if stop:
                with pytest.raises((KeyboardInterrupt, SystemExit)):
                    train.run(cfg, folder / name)
            else:
                assert train.run(cfg, folder / name) == 0
        return drawn, validated, trainers[0]

    return trained


def left(run: Path) -> dict[str, Any]:
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    callbacks = {
        name: {key: value for key, value in state.items() if "path" not in key and key != "best_k_models"}
        for name, state in last["callbacks"].items()
    }
    kept = {
        key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step")
    }
    return {**kept, "callbacks": callbacks, "metrics": (run / "metrics.csv").read_text()}


def same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
    if isinstance(one, dict | list | tuple):
        pairs = (
            ((k, one[k], other[k]) for k in one)
            if isinstance(one, dict)
            else zip(itertools.count(), one, other)
        )
        for key, a, b in pairs:
            same(a, b, f"{where}.{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


SCHEDULES = {
    "within": (("+trainer.val_check_interval=2",), [2, 4, 6, 8, 10, 12, 14, 16, 18]),
    "a fraction": (("+trainer.val_check_interval=0.5",), [3, 6, 9, 12, 15, 18]),
    "over epochs": (
        ("+trainer.val_check_interval=4", "trainer.check_val_every_n_epoch=null"),
        [4, 8, 12, 16],
    ),
    "every other epoch": (("+trainer.val_check_interval=3", "trainer.check_val_every_n_epoch=2"), [9, 12]),
    "beside accumulation": (
        ("+trainer.val_check_interval=3", "trainer.accumulate_grad_batches=2"),
        [3, 6, 9, 12, 15, 18],
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_validation_comes_when_it_is_asked_for_and_is_gone_on_with_exactly(
    run, folder, schedule: str
) -> None:
    overrides, expected = SCHEDULES[schedule]
    drawn, validated, _ = run("whole", *overrides)
    assert validated == expected
    whole = left(folder / "whole")
    for stop in (4, 9):  # after a validation, and between
        before, begun, _ = run(f"cut {stop}", *overrides, stop=stop)
        after, ended, _ = run(f"cut {stop}", *overrides)
        same(whole, left(folder / f"cut {stop}"))
        assert [*begun, *ended] == expected
        assert set(before + after) == set(drawn)


def test_overfitting_sees_the_same_batches_again(run, folder) -> None:
    overrides = ("+trainer.overfit_batches=2", "augmentation=none")
    drawn, validated, trainer = run("whole", *overrides)
    epochs = np.reshape(drawn, (3, 4))
    assert (epochs == epochs[0]).all()
    assert len(set(epochs[0].tolist())) > 1
    assert validated == [2, 4, 6]
    assert trainer.num_training_batches == 2
    run("cut", *overrides, stop=3)
    run("cut", *overrides)
    same(left(folder / "whole"), left(folder / "cut"))


def test_early_stopping_stops_and_stays_so(run, folder) -> None:
    impatient = f"{EARLY}, patience: 1, min_delta: 1.0}}"  # no J is better by so much
    _, validated, _ = run("whole", impatient, "trainer.max_epochs=9")
    assert validated == [6, 12]
    run("cut", impatient, "trainer.max_epochs=9", stop=8)
    run("cut", impatient, "trainer.max_epochs=9")
    same(left(folder / "whole"), left(folder / "cut"))
    again, validated, _ = run("whole", impatient, "trainer.max_epochs=9")
    assert (len(again), validated) == (0, [])  # only tested anew
    patient = impatient.replace("patience: 1", "patience: 3")
    _, validated, _ = run("whole", patient, "trainer.max_epochs=9", "resume_allow=[callbacks.early.patience]")
    assert validated == [18, 24]


def test_within_an_epoch_too(run, folder) -> None:
    impatient = (f"{EARLY}, patience: 1, min_delta: 1.0}}", "+trainer.val_check_interval=2")
    _, validated, _ = run("whole", *impatient)
    assert validated == [2, 4]
    again, validated, _ = run("whole", *impatient)
    assert (len(again), validated) == (0, [])


LIGHTNING = "_target_: pytorch_lightning.callbacks"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["callbacks.best.monitor=val/j"], "callbacks.best.monitor: 'val/j' is not logged; choose val/J or"),
        (
            [EARLY.replace("val/J", "val/loss") + "}"],
            "callbacks.early.monitor: 'val/loss' is not logged; choose val/J",
        ),
        (
            [EARLY + "}", "+trainer.limit_val_batches=0"],
            "callbacks.early.monitor: nothing is validated, so val/J",
        ),
        (
            [EARLY.replace("max", "most") + "}"],
            "callbacks.early: pytorch_lightning.callbacks.EarlyStopping refuses",
        ),
        (
            [f"+callbacks.lr={{{LIGHTNING}.LearningRateMonitor}}", "logger=none"],
            "callbacks.lr: LearningRateMonitor refuses to work here: Cannot use `LearningRateMonitor` callback with",
        ),
        (
            [f"+callbacks.stats={{{LIGHTNING}.DeviceStatsMonitor}}", "logger=none"],
            "callbacks.stats: DeviceStatsMonitor refuses to work here: Cannot use `DeviceStatsMonitor` callback with",
        ),
        (
            [f"+callbacks.find={{{LIGHTNING}.BatchSizeFinder}}"],
            "callbacks.find: find it before training, by davis-exp tune batch, and leave this out",
        ),
        (
            ["+trainer.val_check_interval=1000"],
            "trainer.val_check_interval: an epoch has fewer batches; give",
        ),
        (["+trainer.val_check_interval=0"], "trainer.val_check_interval: must be above 0, got 0"),
        (["trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch: must be above 0, got 0"),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches: must be above 0, got 0"),
        (["+trainer.val_check_interval=1.5"], "trainer: Lightning refuses these settings: "),
        (["+trainer.overfit_batches=-1"], "trainer: Lightning refuses these settings: "),
    ],
)
def test_refused_before_a_batch_is_drawn(run, overrides: list[str], line: str) -> None:
    drawn: list[int] = []
    with pytest.raises(BadInput) as refused:
        drawn, _, _ = run("run", *overrides)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
    assert drawn == []


def test_what_a_callback_of_ones_own_logs_may_be_monitored(run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own_callback.py").write_text(
        "import pytorch_lightning as pl\n"
        "class Logs(pl.Callback):\n"
        "    def on_validation_epoch_end(self, trainer, task):\n"
        "        task.log('mine', 1.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ("+callbacks.own={_target_: own_callback.Logs}", EARLY.replace("val/J", "mine") + ", patience: 1}")
    _, validated, _ = run("run", *own)
    assert validated == [6, 12]


@pytest.mark.parametrize("name", ["LearningRateMonitor", "TQDMProgressBar"])
def test_callbacks_of_lightnings_work(run, name: str) -> None:
    run("run", f"+callbacks.its={{{LIGHTNING}.{name}}}", "trainer.max_epochs=1")


def test_without_callbacks_the_last_weights_are_tested(run, folder) -> None:
    drawn, validated, _ = run("run", "~callbacks", "resume=none")
    assert (len(drawn), validated) == (36, [6, 12, 18])
    assert (folder / "run/results/paths.json").is_file()


@pytest.mark.parametrize(
    ("asked", "has", "given"),
    [
        ({"accelerator": "cpu", "precision": "bf16-mixed"}, False, "32-true"),
        ({"accelerator": "cpu", "precision": "16-mixed"}, False, "32-true"),  # which Lightning makes bfloat16
        ({"accelerator": "cpu", "precision": "bf16-mixed"}, True, "bf16-mixed"),
        ({"accelerator": "gpu", "precision": "bf16-mixed"}, False, "bf16-mixed"),
        ({"accelerator": "cpu", "precision": 32}, False, 32),
    ],
)
def test_bfloat16_is_float32_where_a_cpu_has_none_and_that_is_said(monkeypatch, caplog, asked, has, given):
    monkeypatch.setattr(settings.cpu, "has_bfloat16", lambda: has)
    assert settings.translated(asked)["precision"] == given
    assert ("this CPU has no bfloat16" in caplog.text) == (given != asked["precision"])
    assert asked["precision"] != "32-true"  # the config stays what it is


def test_where_training_goes_by_itself_to_the_cpu_it_counts_as_one(monkeypatch):
    monkeypatch.setattr(settings.cpu, "has_bfloat16", lambda: False)
    asked = {"accelerator": "auto", "precision": "bf16-mixed"}
    for cuda, given in ((False, "32-true"), (True, "bf16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert settings.translated(asked)["precision"] == given


@pytest.mark.parametrize("experiment", ["zoo_best", "zoo_mobile"])
def test_a_look_whether_it_runs_is_short_whatever_an_experiment_says(compose, experiment):
    cfg = compose(f"experiment={experiment}", "trainer=debug")
    node = settings.translated(cfg.trainer)
    assert "debug" not in node
    assert (node["max_steps"], node["max_epochs"], node["check_val_every_n_epoch"]) == (2, 1, 1)
    assert settings.translated(compose(f"experiment={experiment}").trainer)["max_steps"] > 2
