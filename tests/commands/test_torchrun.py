"""Training by torchrun: two machines that are this one, held against a training by one process."""

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from davis_exp.launch import status

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=6", "data.test=3", "data.length=6"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.holdout=3", "data.clips_per_epoch=10", "trainer.max_epochs=30", "trainer.log_every_n_steps=1"),
    *("optimizer.lr=0.01", "seed=2", "scheduler=constant", "name=x"),
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "davis_exp", "train", *TINY]
    subprocess.run(command, cwd=folder, env=ENVIRON, check=True, capture_output=True)
    (run,) = (folder / "runs/x").iterdir()
    return run


Machines = Callable[..., list["subprocess.Popen[str]"]]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Starts torchrun in two folders, seconds apart; what is left of both ends with the test."""
    agents: list[subprocess.Popen[str]] = []

    def start(*arguments: str, options: tuple[str, ...] = ()) -> "list[subprocess.Popen[str]]":
        with socket.socket() as found:
            found.bind(("localhost", 0))
            endpoint = f"--rdzv-endpoint=localhost:{found.getsockname()[1]}"
        logs = f"--log-dir={tmp_path / 'agents'}"
        group = ("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", endpoint, "--rdzv-id=x", logs)
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *group,
            *options,
            "-m",
            "davis_exp",
            "train",
        ]
        pair = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir(exist_ok=True)
            with (tmp_path / f"{name}.log").open("w") as log:
                cwd = tmp_path / name
                pair.append(
                    subprocess.Popen(
                        [*command, *TINY, *arguments], cwd=cwd, env=ENVIRON, stdout=log, stderr=log
                    )
                )
            time.sleep(1)
        agents.extend(pair)  # type: ignore[arg-type]
        return pair  # type: ignore[return-value]

    yield start
    for agent in agents:
        with contextlib.suppress(ProcessLookupError):
            agent.kill()
        agent.wait()


def the_run(tmp_path: Path) -> Path:
    """The only run, of whichever machine has rank 0."""
    (run,) = tmp_path.glob("*/runs/x/*")
    return run


def after_some_steps(tmp_path: Path) -> Path:
    end = time.monotonic() + 120
    while not list(tmp_path.glob("*/runs/x/*/checkpoints/last.ckpt")) and time.monotonic() < end:
        time.sleep(0.05)
    return the_run(tmp_path)


def workers(agent: "subprocess.Popen[str]") -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()]


def column(run: Path, name: str) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def assert_equal(run: Path, alone: Path) -> None:
    one, two = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (alone, run))
    assert one["global_step"] == two["global_step"]
    for name, weight in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], weight, rtol=0, atol=1e-5)
    scores = [json.loads((folder / "score.json").read_text())["contest"] for folder in (alone, run)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
    for name in ("train/loss", "val/J"):
        assert column(run, name) == pytest.approx(column(alone, name), abs=1e-5)
    assert len(list((run / "results/outputs").iterdir())) == 18


def test_two_machines_train_one_run(alone: Path, machines: Machines, tmp_path: Path) -> None:
    agents = machines()
    assert [agent.wait(300) for agent in agents] == [0, 0]
    assert_equal(the_run(tmp_path), alone)
    logs = [(tmp_path / f"{name}.log").read_text().count("results: 18 masks") for name in ("one", "other")]
    assert sorted(logs) == [0, 1]


def test_a_machine_that_dies_ends_the_training_and_another_start_goes_on(
    alone: Path, machines: Machines, tmp_path: Path
) -> None:
    agents = machines()
    run = after_some_steps(tmp_path)
    (left,) = workers(agents[1])
    killed = time.monotonic()
    agents[1].send_signal(signal.SIGKILL)
    assert agents[0].wait(60) == 1
    assert time.monotonic() - killed < 30
    assert not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text()
    assert status.current(run)["state"] in ("failed", "interrupted")

    agents = machines("resume=auto")
    assert [agent.wait(300) for agent in agents] == [0, 0]
    assert the_run(tmp_path) == run
    assert status.read(run)["attempts"] == 2
    assert_equal(run, alone)


def test_a_group_that_loses_a_worker_is_restarted_and_goes_on(
    alone: Path, machines: Machines, tmp_path: Path
) -> None:
    agents = machines(options=("--max-restarts=1",))
    run = after_some_steps(tmp_path)
    os.kill(workers(agents[1])[0], signal.SIGKILL)
    assert [agent.wait(300) for agent in agents] == [0, 0]
    assert the_run(tmp_path) == run
    assert status.read(run)["attempts"] == 2
    assert_equal(run, alone)


def test_ctrl_c_on_one_machine_ends_the_training_where_it_can_be_gone_on_with(
    machines: Machines, tmp_path: Path
) -> None:
    agents = machines("trainer.max_epochs=3000")
    run = after_some_steps(tmp_path)
    agents[0].send_signal(signal.SIGINT)
    for agent in agents:
        assert agent.wait(60) != 0
    assert status.read(run)["state"] == "interrupted"
    said = "".join((tmp_path / f"{name}.log").read_text() for name in ("one", "other"))
    assert said.count("davis-exp: interrupted; go on with: davis-exp train resume=") == 1
    assert said.count("davis-exp:") == 1


def test_one_command_tests_by_as_many_processes_as_it_is_given(alone: Path, tmp_path: Path) -> None:
    data = [o for o in TINY if o.startswith("data") and "clips" not in o]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=3", f"--log-dir={tmp_path}"]
    command += ["-m", "davis_exp", "test"]
    where = [f"checkpoint={alone}/checkpoints/best.ckpt", "name=x"]
    done = subprocess.run(
        [*command, *data, *where], cwd=tmp_path, env=ENVIRON, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs/x").iterdir()
    assert len(list((run / "results/outputs").iterdir())) == 18


def test_devices_that_contradict_what_was_started_are_refused(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "-m",
        "davis_exp",
        "train",
    ]
    done = subprocess.run(
        [*command, *TINY, "trainer.devices=4"], cwd=tmp_path, env=ENVIRON, capture_output=True, text=True
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("davis-exp:")]
    assert said == [
        "davis-exp: trainer.devices=4: 2 started; leave it to what starts them, or ask for as many"
    ]
