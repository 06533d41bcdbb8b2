"""What only a GPU can prove: `pytest -m gpu tests/commands/test_gpu.py` on the day that there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CUDA = torch.cuda.device_count()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CUDA == 0, reason="there is no GPU"),
]
TINY = (
    *("data=generated", "encoder=resnet18", "decoder=fpn", "data.train=6", "data.test=3", "data.length=6"),
    *("data.height=64", "data.width=96", "data.size=[64,96]", "data.batch_size=4", "data.workers=1"),
    *("data.holdout=3", "data.clips_per_epoch=12", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"),
    *("seed=2", "name=x", "trainer=gpu"),
)


def davis_exp(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "davis_exp", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=800)


def trained(folder: Path, *arguments: str) -> Path:
    done = davis_exp(folder, "train", *TINY, *arguments)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs/x").iterdir()
    return run


@pytest.mark.parametrize(
    "settings",
    [
        ("trainer.precision=bf16-mixed",),
        ("trainer.precision=16-mixed",),
        ("trainer.precision=32-true", "task.channels_last=false"),
        ("task.compile=true",),
    ],
    ids=["bf16", "fp16", "fp32", "compiled"],
)
def test_a_run_trains_and_tests(tmp_path: Path, settings: tuple[str, ...]) -> None:
    run = trained(tmp_path, *settings)
    first = json.loads((run / "score.json").read_text())["contest"]["mean_iou"]
    checkpoint = run / "checkpoints/best.ckpt"
    data = [o for o in TINY if o.startswith("data") and "clips" not in o]
    again = davis_exp(tmp_path, "test", f"checkpoint={checkpoint}", *data, "trainer=gpu", "name=again")
    assert again.returncode == 0, again.stderr
    (tested,) = (tmp_path / "runs/again").iterdir()
    assert json.loads((tested / "score.json").read_text())["contest"]["mean_iou"] == pytest.approx(
        first, abs=0.02
    )


@pytest.mark.parametrize(
    "devices", [1, pytest.param(2, marks=pytest.mark.skipif(CUDA < 2, reason="one GPU"))]
)
def test_nccl_trains_what_one_process_does(tmp_path: Path, devices: int) -> None:
    settings = ("encoder=pixel", "decoder=pixel", "trainer.precision=32-true", "scheduler=constant")
    runs = []
    for name, group in (
        ("alone", []),
        ("group", ["-m", "torch.distributed.run", f"--nproc-per-node={devices}"]),
    ):
        (tmp_path / name).mkdir()
        overrides = [o for o in TINY if not o.startswith(("encoder", "decoder"))]
        command = [sys.executable, *group, "-m", "davis_exp", "train", *overrides, *settings]
        done = subprocess.run(command, cwd=tmp_path / name, capture_output=True, text=True, timeout=800)
        assert done.returncode == 0, done.stderr
        runs.extend((tmp_path / name / "runs/x").iterdir())
    one, two = (torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in runs)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-4)


def test_too_little_memory_is_a_line_that_says_what_to_lower(tmp_path: Path) -> None:
    size = ("data.height=2048", "data.width=2048", "data.size=[2048,2048]", "data.batch_size=512")
    done = davis_exp(tmp_path, "train", *TINY, *size, "data.train=2", "data.clips_per_epoch=512")
    assert done.returncode == 1
    assert done.stderr.startswith("davis-exp: failed: the GPU's memory is too small")
    assert done.stderr.count("\n") == 1
