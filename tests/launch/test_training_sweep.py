"""Sweeps of real trainings, on a few small generated clips."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from davis_exp.launch import status

TINY = (
    *("data=generated", "decoder=pixel", "data.train=4", "data.test=2", "data.length=6"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.clips_per_epoch=8", "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "optimizer.lr=0.1"),
)
ENCODERS = '''
import os
import signal
from pathlib import Path

from torch import nn


class Frames(nn.Module):
    """The frames times `factor`, with parameters that nothing uses."""

    channels, strides, temporal_strides = (3,), (1,), (1,)
    context, needs_motion, mean, std = (0, 0), False, 0, 1

    def __init__(self, factor: float = 1.0, spare: int = 0) -> None:
        super().__init__()
        self.factor = factor
        self.spare = nn.Linear(spare, 1, bias=False) if spare else None

    def forward(self, frames, motion=None):
        return [frames * self.factor]


class Crash(Frames):
    def forward(self, frames, motion=None):
        if not frames.is_meta:
            raise RuntimeError("no such luck")
        return super().forward(frames)


class Killed(Frames):
    """Once, at the sixth training step: in the middle of the third epoch of two steps."""

    steps = 0

    def forward(self, frames, motion=None):
        if self.training and not frames.is_meta:
            self.steps += 1
            with Path("steps").open("a") as file:
                file.write("step\\n")
            if self.steps == 6 and not Path("was_killed").exists():
                Path("was_killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(frames)
'''
OPTIONS = {
    "one": "{_target_: my_encoders.Frames, factor: 1.0}",
    "two": "{_target_: my_encoders.Frames, factor: 2.0}",
    "half": "{_target_: my_encoders.Frames, factor: 0.5}",
    "large": "{_target_: my_encoders.Frames, spare: 1000}",
    "crash": "{_target_: my_encoders.Crash}",
    "killed": "{_target_: my_encoders.Killed}",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with encoders of its own."""
    (tmp_path / "own/encoder").mkdir(parents=True)
    for name, text in OPTIONS.items():
        (tmp_path / f"own/encoder/{name}.yaml").write_text(text)
    (tmp_path / "my_encoders.py").write_text(ENCODERS)
    return tmp_path


def train(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "davis_exp", "train", "--config-dir", "own", *TINY, *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)


def summary(sweep: Path) -> dict[str, dict[str, str]]:
    with (sweep / "summary.csv").open() as file:
        return {row["encoder"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_sweep_survives_its_worst_jobs_and_goes_on(folder: Path) -> None:
    command = ("-m", "encoder=one,crash,large,killed,two,half", "budget.limit=500")
    assert train(folder, *command).returncode == 1
    (sweep,) = (folder / "multirun").iterdir()
    jobs = summary(sweep)
    assert {name: job["state"] for name, job in jobs.items()} == {
        "one": "finished",
        "two": "finished",
        "half": "finished",
        "large": "over_budget",
        "crash": "failed",
        "killed": "failed",
    }
    assert jobs["crash"]["error"] == "RuntimeError: no such luck"
    assert jobs["killed"]["error"].startswith("killed by SIGKILL")
    assert jobs["large"]["parameters"] == "1004"
    killed = sweep / jobs["killed"]["folder"]
    last = torch.load(killed / "checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 5  # saved before the step that a validation comes after
    assert (folder / "steps").read_text().count("step") == 6
    page = (sweep / "summary.html").read_text()
    assert "no such luck" in page
    assert "my_encoders.py" in page
    for job in ("one", "two", "half"):
        record = status.read(sweep / jobs[job]["folder"])
        assert record["test_split"] == "holdout"
        assert 0 <= record["objective"] <= 1
        assert float(jobs[job]["holdout_J"]) == record["objective"]

    before = {name: status.read(sweep / job["folder"]) for name, job in jobs.items()}
    done = train(folder, *command)
    assert done.returncode == 1  # what crashes crashes again
    jobs = summary(sweep)
    again = {name for name, job in jobs.items() if status.read(sweep / job["folder"]) != before[name]}
    assert again == {"killed", "crash"}
    assert jobs["killed"]["state"] == "finished"
    assert jobs["killed"]["attempts"] == "2"
    assert (folder / "steps").read_text().count("step") == 6 + 1  # the last alone
    last = torch.load(killed / "checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 6

    # As if it had never been killed: job `one` is the same model.
    scores = [
        json.loads((sweep / jobs[name]["folder"] / "score.json").read_text())["contest"]
        for name in ("killed", "one")
    ]
    assert scores[0] == scores[1]
    assert status.read(killed)["objective"] == before["one"]["objective"]


@pytest.mark.slow
def test_a_single_run_says_how_to_go_on_with_an_unfinished_one_and_does_so_by_itself(folder: Path) -> None:
    done = train(folder, "encoder=killed", "name=x")
    assert done.returncode == -9
    (first,) = (folder / "runs/x").iterdir()
    done = train(folder, "encoder=killed", "name=x", "trainer.max_epochs=1")
    assert "unfinished" not in done.stdout  # another config
    done = train(folder, "encoder=killed", "name=x")
    assert f"resume=runs/x/{first.name}" in done.stdout
    assert len(list((folder / "runs/x").iterdir())) == 3
    (folder / "steps").unlink()
    done = train(folder, "encoder=killed", "name=x", "resume=auto")
    assert done.returncode == 0
    assert (folder / "steps").read_text().count("step") == 1
    assert status.read(first)["state"] == "finished"
    assert len(list((folder / "runs/x").iterdir())) == 3
