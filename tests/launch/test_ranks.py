"""Jobs on several devices, by real processes of the stand-in app: one of them goes wrong, and the others wait."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from davis_exp.launch import status

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TWO = "trainer.devices=2"


def the_run(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "cwd/runs/demo").iterdir()
    return folder


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # killed, but not yet waited for by whoever has inherited it
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def all_gone(folder: Path, seconds: float = 5) -> bool:
    pids = [int(file.read_text()) for file in folder.glob("pid*")]
    assert len(pids) == 2
    end = time.monotonic() + seconds
    while not all(map(gone, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return all(map(gone, pids))


def test_the_first_rank_speaks_for_all(app: Run, tmp_path: Path) -> None:
    done = app(TWO)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.count("resume is None") == 1
    folder = the_run(tmp_path)
    assert status.read(folder)["state"] == "finished"
    assert all_gone(folder)
    assert not (folder / "rank1.log").exists()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("act", "code", "state", "line"),
    [
        ("refuse", 2, "bad_input", "data.root: no folder /x; give data.root=…"),
        ("over", 3, "over_budget", "over budget by 3"),
        ("crash", 1, "failed", "failed: RuntimeError: boom, traceback in "),
        ("die", 1, "failed", "failed: RuntimeError: process {} of 2 was killed by SIGKILL"),
    ],
)
def test_a_rank_that_fails_ends_the_run(
    app: Run, tmp_path: Path, act: str, rank: int, code: int, state: str, line: str
) -> None:
    done = app(TWO, f"task.act={act}", f"task.rank={rank}")
    assert done.returncode == code
    said = done.stderr
    assert said.count("\n") == 1, said
    assert said.startswith(f"davis-exp: {line.format(rank + 1)}")
    assert done.stdout.count("part  parameters") == (act == "over")
    folder = the_run(tmp_path)
    record = status.read(folder)
    assert (record["state"], record["exit_code"]) == (state, code)
    assert record["nparams"] == (9 if act == "over" else 3)
    assert all_gone(folder)
    if act == "crash":
        assert 'raise RuntimeError("boom")' in (folder / status.ERROR).read_text()
        assert "resume is None" in (folder / "rank1.log").read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ranks_go_with_the_one_that_started_them(
    tmp_path: Path, environment: dict[str, str], how: signal.Signals
) -> None:
    command = [sys.executable, "-m", "davis_exp", "train", TWO, "task.act=wait"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=tmp_path / "cwd", env=environment, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout is not None
        while "waiting" not in process.stdout.readline():
            assert process.poll() is None
        folder = the_run(tmp_path)
        process.send_signal(how)
        _, said = process.communicate()
    assert all_gone(folder)
    if how is signal.SIGKILL:
        assert status.current(folder)["state"] == "interrupted"
        return
    assert (process.returncode, said) == (130, "davis-exp: interrupted\n")
    assert status.read(folder)["state"] == "interrupted"


def test_a_job_of_a_sweep_may_have_several_devices(app: Run, tmp_path: Path) -> None:
    done = app("-m", TWO, "encoder=a,a2", "task.rank=1", "task.act=crash")
    assert done.returncode == 1
    (sweep,) = (tmp_path / "cwd/multirun").iterdir()
    for job in "01":
        record = status.read(sweep / job)
        assert (record["state"], record["error"]) == ("failed", "RuntimeError: boom")
        assert all_gone(sweep / job)
