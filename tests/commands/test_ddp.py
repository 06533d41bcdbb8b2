"""Training by two processes on the CPU: real runs on small generated clips, held against those of one process."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from davis_exp.launch import status

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=6", "data.test=3", "data.length=6"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.holdout=3", "data.clips_per_epoch=10", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"),
    *("optimizer.lr=0.01", "seed=2", "scheduler=constant", "name=x"),
)
TWO = ("trainer=ddp_cpu", "trainer.devices=2")
ENCODERS = '''
import os
import signal

from torch import nn

from davis_exp.utils.errors import BadInput


class Frames(nn.Module):
    """The frames; the second process goes wrong at the third training step, while the first waits for it."""

    channels, strides, temporal_strides = (3,), (1,), (1,)
    context, needs_motion, mean, std = (0, 0), False, 0, 1

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how, self.steps = how, 0

    def forward(self, frames, motion=None):
        if self.training and os.environ.get("LOCAL_RANK") == "1":
            self.steps += 1
            if self.steps == 3:
                match self.how:
                    case "raise":
                        raise RuntimeError("no such luck")
                    case "refuse":
                        raise BadInput("data.root: a frame is broken")
                    case "die":
                        os.kill(os.getpid(), signal.SIGKILL)
        return [frames]
'''
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"OMP_NUM_THREADS": "1"}


def davis_exp(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "davis_exp", *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRON, capture_output=True, text=True, timeout=800)


def run_in(folder: Path, *arguments: str) -> Path:
    """The one run's folder, after training with these overrides."""
    done = davis_exp(folder, "train", *TINY, *arguments)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs/x").iterdir()
    return run


def score(run: Path) -> dict:
    return json.loads((run / "score.json").read_text())


def metric(run: Path, name: str) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def assert_equal_scores(one: Path, other: Path) -> None:
    first, second = score(one), score(other)
    assert first["contest"]["mean_iou"] > 0
    assert second["contest"] == pytest.approx(first["contest"], abs=1e-4)
    for name, measured in first["sequences"].items():
        assert second["sequences"][name]["contest"] == pytest.approx(measured["contest"], abs=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_in(tmp_path_factory.mktemp("together"), *TWO)


def test_two_processes_learn_what_one_does(alone: Path, together: Path) -> None:
    one, two = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (alone, together))
    assert one["global_step"] == two["global_step"] == 4
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], weight, rtol=0, atol=1e-6)
    assert metric(together, "val/J") == pytest.approx(metric(alone, "val/J"), abs=1e-6)
    assert metric(together, "train/loss") == pytest.approx(metric(alone, "train/loss"), abs=1e-6)
    assert max(metric(alone, "val/J")) > 0
    assert_equal_scores(alone, together)
    records = [status.read(run) for run in (alone, together)]
    assert records[0]["digest"] == records[1]["digest"]
    assert records[0]["objective"] == pytest.approx(records[1]["objective"], abs=1e-6)


def test_everything_is_written_once(alone: Path, together: Path) -> None:
    def files(run: Path) -> set[str]:
        return {str(path.relative_to(run)) for path in run.rglob("*")}

    assert files(together) == files(alone)
    frames = [json.loads((run / "results/metadata.json").read_text())["frames"] for run in (alone, together)]
    assert frames[0] == frames[1]
    assert len(list((together / "results/outputs").iterdir())) == 3 * 6
    # The log says it once as well.
    assert [(run / "train.log").read_text().count("results: 18 masks") for run in (alone, together)] == [1, 1]
    assert (together / "train.log").read_text().count("peak activations") == 1


def test_test_shares_out_whole_sequences(alone: Path, tmp_path: Path) -> None:
    data = [o for o in TINY if o.startswith("data") and "clips" not in o]
    # One sequence for two processes: one has nothing to do.
    for name, settings in (("three", TWO), ("single", (*TWO, "data.test=1"))):
        where = (f"checkpoint={alone}/checkpoints/best.ckpt", f"name={name}")
        done = davis_exp(tmp_path, "test", *data, *where, *settings)
        assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs/three").iterdir()
    assert_equal_scores(alone, run)
    (run,) = (tmp_path / "runs/single").iterdir()
    assert len(list((run / "results/outputs").iterdir())) == 6
    name = "test-000"
    assert score(run)["sequences"][name]["contest"] == score(alone)["sequences"][name]["contest"]


def test_a_run_goes_on_with_another_number_of_processes(alone: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path, *TWO, "trainer.max_epochs=1")
    done = davis_exp(tmp_path, "train", f"resume={run}", "trainer=cpu", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    assert status.read(run)["attempts"] == 2
    one, two = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (alone, run))
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], weight, rtol=0, atol=1e-6)
    assert_equal_scores(alone, run)


def test_jobs_of_a_sweep_train_so_side_by_side(tmp_path: Path) -> None:
    engine = []
    if subprocess.run([sys.executable, "-c", "import hydra_plugins.hydra_joblib_launcher"]).returncode == 0:
        engine = ["hydra/launcher=parallel"]
    for name, settings in (("one", []), ("two", [*TWO, *engine])):
        done = davis_exp(tmp_path / name, "train", "-m", *TINY, "seed=2,5", *settings)
        assert done.returncode == 0, done.stderr
    for job in "01":
        one, two = (tmp_path / name / "multirun/x" / job for name in ("one", "two"))
        assert status.read(two)["state"] == "finished"
        assert_equal_scores(one, two)


def test_batch_norm_averages_motion_and_workers(tmp_path: Path) -> None:
    """No equality here, for each process normalises by its own clips; but both must end with the same model."""
    settings = ("encoder=two_stream", "encoder@encoder.appearance=mobilenetv4", "decoder=fpn", "flow=dis")
    more = ("encoder@encoder.motion=mobilenetv4", "callbacks=ema", "data.workers=1", "data.cache=disk")
    size = ("data.size=[64,64]", "data.height=64", "data.width=64")
    run = run_in(tmp_path, *TWO, *settings, *more, *size)
    assert len(metric(run, "val/J")) == 2
    data = [o for o in TINY if o.startswith("data") and "clips" not in o]
    where = (f"checkpoint={run}/checkpoints/best.ckpt", "name=again")
    done = davis_exp(tmp_path, "test", *data, *size, *where)
    assert done.returncode == 0, done.stderr
    (again,) = (tmp_path / "runs/again").iterdir()
    assert score(again)["contest"] == pytest.approx(score(run)["contest"], abs=1e-4)


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        ("raise", 1, "failed: RuntimeError: no such luck, traceback in "),
        ("refuse", 2, "data.root: a frame is broken"),
        ("die", 1, f"failed: RuntimeError: process 2 of 2 was killed by {signal.SIGKILL.name}"),
    ],
)
def test_a_process_that_fails_ends_the_training(tmp_path: Path, how: str, code: int, line: str) -> None:
    (tmp_path / "own/encoder").mkdir(parents=True)
    (tmp_path / "own/encoder/bad.yaml").write_text(f"{{_target_: my_encoders.Frames, how: {how}}}")
    (tmp_path / "my_encoders.py").write_text(ENCODERS)
    own = ("--config-dir", "own", "encoder=bad")
    done = davis_exp(tmp_path, "train", *TINY, *TWO, *own)
    assert done.returncode == code
    assert done.stderr.startswith(f"davis-exp: {line}"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    (run,) = (tmp_path / "runs/x").iterdir()
    assert not (run / "results").exists()
    assert not list(run.glob(".results*"))
    assert status.read(run)["exit_code"] == code


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("data.batch_size=3",), "data.batch_size=3 cannot be shared out evenly over 2 devices"),
        (("trainer.sync_batchnorm=true",), "trainer.sync_batchnorm"),
        (("+trainer.strategy=ddp",), "trainer.strategy"),
        (("trainer.num_nodes=2",), "trainer.num_nodes=2: start it on each machine by torchrun --nnodes=2"),
    ],
)
def test_what_several_devices_cannot_do_is_refused(
    tmp_path: Path, overrides: tuple[str, ...], line: str
) -> None:
    given = ("+trainer.sync_batchnorm=true",) if "sync" in overrides[0] else overrides
    done = davis_exp(tmp_path, "train", *TINY, *TWO, *given)
    assert done.returncode == 2
    assert done.stderr.startswith(f"davis-exp: {line}"), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_cluster_s_own_variables_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a Slurm job Lightning would take Slurm's tasks for its processes."""
    for name, value in (
        ("NTASKS", "1"),
        ("JOB_NAME", "davis"),
        ("PROCID", "0"),
        ("LOCALID", "0"),
        ("NODEID", "0"),
    ):
        monkeypatch.setitem(ENVIRON, f"SLURM_{name}", value)
    monkeypatch.setitem(ENVIRON, "SLURM_JOB_ID", "1")
    assert len(list((run_in(tmp_path, *TWO) / "results/outputs").iterdir())) == 18
