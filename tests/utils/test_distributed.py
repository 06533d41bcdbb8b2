"""What ranks share, and how they end: by real processes that meet as torchrun or srun has them meet."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput

RANK = """
import json, os, signal, sys, time
from pathlib import Path
from davis_exp.utils import distributed, interrupts
from davis_exp.utils.errors import BadInput

class Particular(Exception):
    def __init__(self, message, more):
        super().__init__(message)

folder, work = Path(sys.argv[1]), sys.argv[2]
try:
    with interrupts.heard():
        distributed.join()
        with distributed.together():
            distributed.gathered(None)
            (folder / f"there{distributed.rank()}").touch()
            exec(work)
except BaseException as error:
    print(repr(error), "of", repr(error.__cause__))
"""
WAIT = "time.sleep(60)"
CRASH = "raise OverflowError('boom')"
BOOM = "OverflowError('boom')"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port: int = found.getsockname()[1]
        return port


def start(folder: Path, rank: int, port: int, work: str, **env: str) -> "subprocess.Popen[str]":
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    own = {"LOCAL_RANK": str(rank), "TORCHELASTIC_ERROR_FILE": str(folder / f"error{rank}.json")}
    return subprocess.Popen(
        [sys.executable, "-c", RANK, str(folder), work],
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | place | own | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def two(folder: Path, first: str, other: str, **env: str) -> list[str]:
    """What two ranks print that work so; where one has ended, the other is told to end, as an agent does."""
    port = free_port()
    ranks = [start(folder, rank, port, work, **env) for rank, work in enumerate((first, other))]
    end = time.monotonic() + 100
    while all(process.poll() is None for process in ranks) and time.monotonic() < end:
        time.sleep(0.02)
    for process in ranks:
        if process.poll() is None and (folder / "there0").exists():
            process.send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=100) for process in ranks]
    assert [errors for _, errors in outputs] == ["", ""]
    return [out.strip() for out, _ in outputs]


def test_a_process_alone_is_the_only_rank() -> None:
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.gathered("x") == ["x"]
    assert distributed.any_of(True, False) == [True, False]
    with distributed.one_first(), distributed.together():
        pass
    error = KeyboardInterrupt()
    assert distributed.cause(error) is error


def test_ranks_share_values_and_go_one_before_the_other(tmp_path: Path) -> None:
    work = """
print(distributed.world_size(), distributed.gathered(distributed.rank() * 10))
print(distributed.any_of(distributed.rank() == 1, False))
with distributed.one_first():
    time.sleep(0.3 * distributed.is_main())
    print((folder / "there").exists())
    (folder / "there").touch()
"""
    told = "2 [0, 10]\n[True, False]"
    assert two(tmp_path, work, work) == [f"{told}\nFalse", f"{told}\nTrue"]
    assert not list(tmp_path.glob("error*"))


@pytest.mark.parametrize(
    ("first", "other", "printed"),
    [
        (WAIT, CRASH, [f"{BOOM} of KeyboardInterrupt()", f"{BOOM} of None"]),
        (CRASH, WAIT, [f"{BOOM} of None", ""]),  # which goes with the store that the first rank keeps
        # A collective ends with an error of its own, perhaps before the other's is known.
        (
            "raise RuntimeError('closed by peer')",
            f"time.sleep(0.2); {CRASH}",
            [f"{BOOM} of RuntimeError('closed by peer')", f"{BOOM} of None"],
        ),
        (
            WAIT,
            "os.kill(os.getpid(), signal.SIGKILL)",
            ["LostRank('process 2 of 2 is gone') of KeyboardInterrupt()", ""],
        ),
        ("os.kill(os.getpid(), signal.SIGINT)", WAIT, ["KeyboardInterrupt() of None", ""]),
        (
            WAIT,
            "raise Particular('boom', 1)",
            ["RuntimeError('Particular: boom') of", "Particular('boom') of"],
        ),
        (
            WAIT,
            "raise BadInput('data.root: no folder')",
            ["BadInput('data.root: no folder') of", "BadInput('data.root: no folder') of None"],
        ),
    ],
    ids=["other", "first", "felt", "killed", "interrupted", "particular", "refused"],
)
@pytest.mark.slow
def test_what_the_first_to_fail_has_raised_ends_all(
    tmp_path: Path, first: str, other: str, printed: list[str]
) -> None:
    for out, expected in zip(two(tmp_path, first, other), printed, strict=True):
        assert out.startswith(expected)
    told = json.loads((tmp_path / "error0.json").read_text())
    assert printed[0].startswith(told["message"].removesuffix("'")[:20])
    raised: BaseException = pickle.loads(bytes.fromhex(told["raised"]))
    assert printed[0].startswith(repr(raised))
    assert "Traceback" in "".join(raised.__notes__)


@pytest.mark.slow
def test_a_rank_that_is_ending_is_not_disturbed(tmp_path: Path) -> None:
    late = "try:\n    {}\nexcept BaseException as error:\n    distributed.cause(error)"
    late += "\n    time.sleep(1)\n    print('done')\n    raise"
    stubborn = late.format("time.sleep(60)")
    out, _ = two(tmp_path, stubborn, f"time.sleep(0.2); os.kill(os.getppid(), 0); {CRASH}")
    assert out.startswith("done\n")


@pytest.mark.slow
def test_ranks_that_are_started_anew_do_not_take_up_what_earlier_ones_have_left(tmp_path: Path) -> None:
    """An agent keeps one store over the restarts of its ranks, and the first of them may come long before the other."""
    from torch.distributed import TCPStore

    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    env = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "x"}
    for late in (0, 1):
        ranks = []
        for rank in (late, 1 - late):
            ranks.append(start(tmp_path, rank, store.port, "print(distributed.gathered(os.getpid()))", **env))
            time.sleep(1.5)
        outputs = [process.communicate(timeout=100) for process in ranks]
        pids = sorted((late, process.pid) for process in ranks)
        assert {out for out, _ in outputs} == {f"{[ranks[late].pid, ranks[1 - late].pid]}\n"}, (outputs, pids)


@pytest.mark.parametrize(
    "env",
    [
        {distributed.RENDEZVOUS_SECONDS: "soon"},
        {distributed.RENDEZVOUS_SECONDS: "nan"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "x"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"},  # and not which of its machine
    ],
)
def test_variables_that_make_no_sense_are_refused(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    own = ("RANK", "WORLD_SIZE", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in (*own, "SLURM_NTASKS_PER_NODE", "TORCH_CPP_LOG_LEVEL"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is gone with the test
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match="make no sense"):
        distributed.join()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.slow
def test_a_rank_that_never_comes_is_not_waited_for_longer_than_was_said(tmp_path: Path, rank: int) -> None:
    port = free_port()
    process = start(tmp_path, rank, port, "", DAVIS_EXP_RENDEZVOUS_SECONDS="2")
    out, errors = process.communicate(timeout=60)
    assert out.startswith(f"CannotMeet('2 processes have not met at localhost:{port}")
    assert errors == ""


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
SRUN = {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}


@pytest.mark.parametrize(
    ("env", "started"),
    [
        ({}, False),
        (TORCHRUN, True),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}, False),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0", "TORCHELASTIC_RUN_ID": "x"}, True),
        (SRUN, True),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_ID": "7"}, False),  # salloc's shell
        (SRUN | {"SLURM_NTASKS": "1"}, False),
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, False),
        (SRUN | TORCHRUN, True),
    ],
)
def test_who_has_started_this_process(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], started: bool
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert distributed.started() == started


@pytest.mark.parametrize(
    "env",
    [
        {"RANK": "0"},
        *({k: v for k, v in TORCHRUN.items() if k != name} for name in TORCHRUN if name != "RANK"),
        TORCHRUN | {"MASTER_PORT": "x"},
        TORCHRUN | {"RANK": "-1"},
    ],
)
def test_a_rank_without_a_rendezvous_is_refused(monkeypatch: pytest.MonkeyPatch, env: dict[str, Any]) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match="no rendezvous: start processes by torchrun or srun, or unset RANK"):
        distributed.started()
