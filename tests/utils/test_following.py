"""What a process starts goes with it, by real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

# A starter that starts a follower in a group of its own, which starts another; all of them then wait.
STARTER = """
import os, subprocess, sys, time
code = sys.argv[1]
child = subprocess.Popen([sys.executable, "-c", code, str(os.getpid())], process_group=0)
time.sleep(60)
"""
FOLLOWER = """
import os, subprocess, sys, time
from pathlib import Path
from davis_exp.utils.following import {how}
follow = {how}
follow(int(sys.argv[1]){more})
other = subprocess.Popen(["sleep", "60"])
partial = Path("partial"); partial.write_text(f"{{os.getpid()}} {{other.pid}}"); partial.rename("pids")
{busy}
"""
REPO = str(Path(__file__).resolve().parents[2])


def until(condition: Callable[[], bool], seconds: float = 20) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)
    return time.monotonic() - began


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # nobody may be there to reap it
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def start(folder: Path, busy: str = "time.sleep(60)", more: str = "", how: str = "follow") -> tuple:
    code = FOLLOWER.format(busy=busy, more=more, how=how)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, code], cwd=folder, env=os.environ | {"PYTHONPATH": REPO}
    )
    until((folder / "pids").exists)
    return starter, [int(pid) for pid in (folder / "pids").read_text().split()]


def test_it_goes_within_a_second_and_its_group_with_it(tmp_path: Path) -> None:
    starter, pids = start(tmp_path, more=", kernel=False")
    assert all(map(alive, pids))
    with starter:
        starter.kill()
    assert until(lambda: not any(map(alive, pids))) < 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own signal is Linux's")
def test_native_code_that_lets_no_thread_run_is_ended_too(tmp_path: Path) -> None:
    starter, (pid, other) = start(tmp_path, "import ctypes; ctypes.PyDLL(None).sleep(60)")
    with starter:
        starter.kill()
    try:
        assert until(lambda: not alive(pid)) < 1
    finally:
        os.kill(other, signal.SIGKILL)  # in no position to be told


def test_who_is_no_longer_there_at_the_start_is_noticed(tmp_path: Path) -> None:
    code = FOLLOWER.format(busy="", more="", how="follow")
    done = subprocess.run(
        [sys.executable, "-c", code, "1"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": REPO}
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "pids").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_hears_what_its_starter_ignores(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        starter, (pid, other) = start(tmp_path, how="be_started_by")
    finally:
        signal.signal(number, before)
    with starter:
        os.kill(pid, number)
        until(lambda: not alive(pid))
        os.kill(other, signal.SIGKILL)
        starter.kill()
