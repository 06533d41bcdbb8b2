"""Jobs on several devices, by real processes of the stand-in app: one of them goes wrong, and the others wait."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from davis_exp.launch import job as launch_job
from davis_exp.launch import ranks, runs, status, sweep

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Waiting = Callable[..., "contextlib.AbstractContextManager[subprocess.Popen[str]]"]
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


SLOW = {"marks": pytest.mark.slow}


@pytest.mark.parametrize(
    ("act", "rank", "code", "state", "line"),
    [
        pytest.param("refuse", 0, 2, "bad_input", "data.root: no folder /x; give data.root=…", **SLOW),
        pytest.param("refuse", 1, 2, "bad_input", "data.root: no folder /x; give data.root=…", **SLOW),
        pytest.param("over", 0, 3, "over_budget", "over budget by 3", **SLOW),
        pytest.param("over", 1, 3, "over_budget", "over budget by 3", **SLOW),
        pytest.param("crash", 0, 1, "failed", "failed: RuntimeError: boom, traceback in ", **SLOW),
        ("crash", 1, 1, "failed", "failed: RuntimeError: boom, traceback in "),
        pytest.param(
            "die", 0, 1, "failed", "failed: RuntimeError: process 1 of 2 was killed by SIGKILL", **SLOW
        ),
        pytest.param(
            "die", 1, 1, "failed", "failed: RuntimeError: process 2 of 2 was killed by SIGKILL", **SLOW
        ),
    ],
)
def test_a_rank_that_fails_ends_the_run(
    app: Run, tmp_path: Path, act: str, rank: int, code: int, state: str, line: str
) -> None:
    done = app(TWO, f"task.act={act}", f"task.rank={rank}")
    assert done.returncode == code
    said = done.stderr
    assert said.count("\n") == 1, said
    assert said.startswith(f"davis-exp: {line}")
    assert done.stdout.count("part  parameters") == (act == "over")
    folder = the_run(tmp_path)
    record = status.read(folder)
    assert (record["state"], record["exit_code"]) == (state, code)
    assert record["nparams"] == (9 if act == "over" else 3)
    assert all_gone(folder)
    if act == "crash":
        assert 'raise RuntimeError("boom")' in (folder / status.ERROR).read_text()
        assert "resume is None" in (folder / "rank1.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ranks_go_with_the_one_that_started_them(
    tmp_path: Path, waiting: Waiting, how: signal.Signals
) -> None:
    with waiting(TWO) as process:
        folder = the_run(tmp_path)
        process.send_signal(how)
        _, said = process.communicate()
    assert all_gone(folder)
    if how is signal.SIGKILL:
        assert status.current(folder)["state"] == "interrupted"
        return
    unsaved = f"nothing was saved yet in {folder.relative_to(tmp_path / 'cwd')}"
    assert (process.returncode, said) == (130, f"davis-exp: interrupted; {unsaved}\n")
    assert status.read(folder)["state"] == "interrupted"


@pytest.mark.parametrize(
    ("logger", "patience"),
    [({"_target_": "x", "patience": 90}, 90), ({"_target_": "x"}, 0), (None, 0), ([], 0), (False, 0)],
)
def test_whoever_interrupts_a_job_has_its_loggers_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: Any, patience: float
) -> None:
    given: list[float] = []

    def keep(*arguments: Any, grace: float, **others: Any) -> int:
        given.append(grace)
        return 0

    monkeypatch.setattr(ranks, "run", keep)
    monkeypatch.setattr(sweep, "run_job", keep)
    monkeypatch.setattr(runs, "task_overrides", lambda hydra: [])
    monkeypatch.setattr(runs, "identity", lambda cfg, overrides: "")
    hydra = SimpleNamespace(
        runtime=SimpleNamespace(output_dir=str(tmp_path / "0"), cwd=str(tmp_path), choices={}),
        mode=RunMode.MULTIRUN,
        output_subdir=".hydra",
        launcher={},
        job=SimpleNamespace(num=0),
    )
    monkeypatch.setattr(launch_job.HydraConfig, "get", lambda: hydra)
    cfg = OmegaConf.create({"logger": logger, "trainer": {"devices": 2}})
    assert launch_job.execute("train", "nowhere", cfg, tmp_path, None) == 0
    launch_job.Job("train", "nowhere", None)(cfg)
    ours, the_sweeps = given
    assert ours == ranks.RANK_GRACE + patience
    assert the_sweeps == sweep.JOB_GRACE + patience
    assert the_sweeps > ours + ranks.RANK_GRACE  # the ranks are waited for by a process that is waited for


def test_an_interrupted_job_of_a_sweep_has_the_grace_it_was_given(tmp_path: Path) -> None:
    """It needs a moment for ending, and without any is killed first. Its sweep is a process of its own, quick to react."""
    slow = """
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            os.kill(os.getppid(), signal.SIGUSR1)
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(1)
            open("ended", "w").close()
    """
    of_the_sweep = """
        import signal, sys
        from pathlib import Path
        from davis_exp.launch import sweep

        signal.signal(signal.SIGUSR1, signal.default_int_handler)
        sweep.refresh = lambda folder: None
        sys.executable, root = sys.argv[1], Path(sys.argv[2])
        for grace in (0, 60):
            folder = root / str(grace)
            folder.mkdir()
            try:
                sweep.run_job("train", folder, cwd=str(root), limit=None, grace=grace)
            except KeyboardInterrupt:
                print(grace, (root / "ended").exists())
    """
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(slow)}")
    program.chmod(0o755)
    command = [sys.executable, "-c", textwrap.dedent(of_the_sweep), str(program), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "0 False\n60 True\n", done.stderr


@pytest.mark.slow
def test_a_job_of_a_sweep_may_have_several_devices(app: Run, tmp_path: Path) -> None:
    done = app("-m", TWO, "encoder=a,a2", "task.rank=1", "task.act=crash")
    assert done.returncode == 1
    (sweep,) = (tmp_path / "cwd/multirun").iterdir()
    for job in "01":
        record = status.read(sweep / job)
        assert (record["state"], record["error"]) == ("failed", "RuntimeError: boom")
        assert all_gone(sweep / job)
