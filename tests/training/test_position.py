"""A training that is gone on with, wherever it was left, is the one that was never interrupted."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TINY = [
    *(
        "data=generated",
        "data.train=5",
        "data.test=1",
        "data.length=8",
        "data.size=[64,96]",
        "data.batch_size=2",
    ),
    *("encoder=mobilenetv3", "encoder.weights=null", "decoder=fpn_light", "callbacks=ema", "data.workers=2"),
    *(
        "trainer.max_epochs=3",
        "trainer.max_steps=-1",
        "trainer.log_every_n_steps=1",
        "data.clips_per_epoch=10",
    ),
]
# Trains in this process' place, noting the addresses of what is drawn; leaves as the signal does at a given batch.
PROGRAM = """
import os, signal, subprocess, sys
from davis_exp import cli
from davis_exp.training.task import SegmentationTask
from davis_exp.data.clips import ClipDataset

at, number, drawn, phase = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
steps, sent = 0, not at

def counted(name, original):
    def hook(self, *arguments):
        global steps, sent
        steps += name == "training_step"
        if name == phase and steps >= at and not sent:
            sent = True
            # From elsewhere and to the whole group, as a terminal and a supervisor do: loader processes get it too.
            kill = ["kill", f"-{number}", "--", f"-{os.getpgid(0)}"]
            subprocess.run(kill, check=True, start_new_session=True)
        if name == "training_step":
            with open(drawn, "a") as file:
                place = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1
                frames = arguments[0]["frames"].long()
                print(self.current_epoch, place, int((frames * frames).sum()), file=file)
        return original(self, *arguments)
    return hook

for name in ("training_step", "validation_step", "test_step"):
    setattr(SegmentationTask, name, counted(name, getattr(SegmentationTask, name)))
sys.exit(cli.main(sys.argv[5:]))
"""


def train(
    cwd: Path, *overrides: str, at: int = 0, number: int = signal.SIGTERM, phase: str = "training_step"
) -> int:
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environ |= {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(at),
        str(int(number)),
        str(cwd / "drawn"),
        phase,
        "train",
        *TINY,
    ]
    done = subprocess.run(
        [*command, *overrides, "name=r", "resume=auto"],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode == 130:
        assert "davis-exp: interrupted; go on with: davis-exp train resume=runs/r/" in done.stderr
    return done.returncode


def left(cwd: Path) -> dict:
    """All that a training leaves, but for times and places."""
    run = sorted((cwd / "runs/r").iterdir())[-1]  # what was killed before its first save is begun anew
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    scores = {
        name: {k: v for k, v in state.items() if "score" in k} for name, state in last["callbacks"].items()
    }
    return {
        "weights": last["state_dict"] | {f"now {k}": v for k, v in last["current_model_state"].items()},
        "optimizer": last["optimizer_states"],
        "scheduler": last["lr_schedulers"],
        "loops": last["loops"],
        "scores": scores,
        "metrics": (run / "metrics.csv").read_bytes(),
        "score": json.loads((run / "score.json").read_text())["contest"],
        "state": json.loads((run / "status.json").read_text())["state"],
        "drawn": sorted(set((cwd / "drawn").read_text().splitlines())),
    }


def assert_equal(one, other, where="") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}.{i}")
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an undisturbed training of three epochs of five batches leaves."""
    cwd = tmp_path_factory.mktemp("whole")
    assert train(cwd) == 0
    return left(cwd)


@pytest.mark.parametrize(
    ("at", "number", "phase"),
    [
        (3, signal.SIGINT, "training_step"),  # within an epoch
        pytest.param(7, signal.SIGTERM, "training_step", marks=pytest.mark.slow),
        (10, signal.SIGHUP, "training_step"),  # in the last batch of one
        pytest.param(5, signal.SIGTERM, "validation_step", marks=pytest.mark.slow),
        pytest.param(15, signal.SIGTERM, "test_step", marks=pytest.mark.slow),
        pytest.param(8, signal.SIGKILL, "training_step", marks=pytest.mark.slow),
        (10, signal.SIGKILL, "validation_step"),
    ],
)
def test_wherever_it_is_interrupted(whole, tmp_path, at, number, phase):
    code = train(tmp_path, at=at, number=number, phase=phase)
    assert code == (-9 if number == signal.SIGKILL else 130)
    steps = len((tmp_path / "drawn").read_text().splitlines())
    assert train(tmp_path) == 0
    assert_equal(whole, left(tmp_path))
    again = len((tmp_path / "drawn").read_text().splitlines()) - 15
    # A signal costs nothing within an epoch, and the batch before a validation; a kill what came since the last save.
    assert again <= (0 if phase == "test_step" else 1 if number != signal.SIGKILL else 5), steps


def test_half_a_step_is_never_left(tmp_path, tmp_path_factory):
    """Where several batches make a step, their gradients are in no checkpoint."""
    two = ("trainer.accumulate_grad_batches=2", "trainer.max_epochs=2")
    other = tmp_path_factory.mktemp("whole")
    assert train(other, *two) == 0
    assert train(tmp_path, *two, at=3, number=signal.SIGINT) == 130
    assert train(tmp_path, *two) == 0
    assert_equal(left(other), left(tmp_path))


def test_steps_that_end_within_an_epoch(tmp_path, tmp_path_factory):
    other = tmp_path_factory.mktemp("whole")
    seven = ("trainer.max_epochs=-1", "trainer.max_steps=7")
    assert train(other, *seven) == 0
    assert train(tmp_path, *seven, at=6) == 130
    assert train(tmp_path, *seven) == 0
    assert_equal(left(other), left(tmp_path))


@pytest.mark.slow
def test_validations_within_an_epoch_and_the_same_batches_throughout(tmp_path, tmp_path_factory):
    often = ("+trainer.val_check_interval=2", "+trainer.overfit_batches=4")
    other = tmp_path_factory.mktemp("whole")
    assert train(other, *often) == 0
    assert train(tmp_path, *often, at=3, number=signal.SIGINT) == 130
    assert train(tmp_path, *often, at=4, number=signal.SIGKILL, phase="validation_step") == -9
    assert train(tmp_path, *often) == 0
    assert_equal(left(other), left(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_interruptions_at_random(whole, tmp_path):
    rng = random.Random(0)
    for n in range(20):
        cwd = tmp_path / str(n)
        cwd.mkdir()
        for _ in range(rng.randint(1, 3)):
            number = rng.choice((signal.SIGKILL, signal.SIGTERM))
            at, phase = rng.randint(1, 14), rng.choice(("training_step", "validation_step"))
            code = train(cwd, at=at, number=number, phase=phase)
            assert code in (0, 130, -9)  # 0: fewer steps than that were left
            if code == 0:
                break
        else:
            assert train(cwd) == 0
        assert_equal(whole, left(cwd), f"round {n}")
