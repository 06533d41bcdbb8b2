"""Ranks that torchrun or srun has started, by real processes of the stand-in app; and who they say has failed first."""

import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davis_exp.launch import ranks, status
from davis_exp.utils.distributed import LostRank
from davis_exp.utils.errors import BadInput

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TWO = ("--nproc-per-node=2",)


def ours(text: str) -> list[str]:
    """The lines of `text` that are not torchrun's."""
    return [line for line in text.splitlines() if line.startswith("davis-exp:")]


def the_run(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "cwd/runs/demo").iterdir()
    return folder


@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, 1), (3, 3), ([0, 2], 2), ("0,2", 2), ("0,", 1), ("2", 2), ("auto", 1), (-1, 1), ([], 1), (None, 1)],
)
def test_how_many_ranks_a_config_asks_for(devices: Any, number: int) -> None:
    assert ranks.number(devices) == number
    assert ranks.wanted("train", {"devices": devices}) == number


def test_other_machines_are_not_started_from_here() -> None:
    with pytest.raises(
        BadInput, match=r"num_nodes=3: .* torchrun --nnodes=3 --nproc-per-node=2 .*davis_exp test"
    ):
        ranks.wanted("test", {"devices": 2, "num_nodes": 3})


def failed(code: int, raised: BaseException | None = None) -> Any:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    failure = ProcessFailure(local_rank=0, pid=2**22 + 1, exitcode=code, error_file="")
    failure.error_file_data = {"raised": pickle.dumps(raised).hex()} if raised else {"message": "<NONE>"}
    return failure


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        (
            {0: failed(2, BadInput("no folder")), 1: failed(-signal.SIGKILL)},
            "no folder",
        ),  # did not hear its end
        (
            {0: failed(1, LostRank("2 is gone")), 1: failed(-signal.SIGKILL)},
            "process 2 of 3 was killed by SIGKILL",
        ),
        ({0: failed(1, LostRank("2 is gone"))}, "2 is gone"),
        ({0: failed(-signal.SIGTERM), 2: failed(-signal.SIGSEGV)}, "process 3 of 3 was killed by SIGSEGV"),
        ({0: failed(-signal.SIGTERM)}, "process 1 of 3 was killed by SIGTERM"),
        ({1: failed(7)}, "process 2 of 3 ended with exit code 7; what it printed: x/rank1.log"),
    ],
)
def test_what_the_first_to_fail_has_left_is_what_went_wrong(failures: dict[int, Any], told: str) -> None:
    assert str(ranks._failure(failures, 3, Path("x"))).startswith(told)


def test_ranks_of_torchrun_share_one_run(app: Run, tmp_path: Path) -> None:
    done = app("task.note=x", agent=TWO)
    assert done.returncode == 0, done.stderr
    assert ours(done.stderr) == []
    assert done.stdout.count("resume is None") == 1
    folder = the_run(tmp_path)
    assert status.read(folder)["state"] == "finished"
    assert len(list(folder.glob("pid*"))) == 2
    assert not list(folder.glob("rank*.log"))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("act", "state", "line"),
    [
        ("refuse", "bad_input", "davis-exp: data.root: no folder /x; give data.root=…"),
        ("crash", "failed", "davis-exp: failed: RuntimeError: boom, traceback in "),
    ],
)
def test_rank_0_says_what_went_wrong_in_any(
    app: Run, tmp_path: Path, act: str, state: str, line: str, rank: int
) -> None:
    done = app(f"task.act={act}", f"task.rank={rank}", agent=TWO)
    assert done.returncode == 1
    (said,) = ours(done.stderr)
    assert said.startswith(line)
    assert status.read(the_run(tmp_path))["state"] == state


@pytest.mark.slow
@pytest.mark.parametrize("act", ["once", "die_once"])
def test_a_group_that_is_restarted_goes_on_in_its_own_folder(app: Run, tmp_path: Path, act: str) -> None:
    done = app(f"task.act={act}", "task.rank=1", "task.note=6", agent=(*TWO, "--max-restarts=1"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("resume is None") == 1
    assert done.stdout.count("resume is auto") == 1
    folder = the_run(tmp_path)
    record = status.read(folder)
    assert (record["state"], record["attempts"]) == ("finished", 2)
    assert not list(folder.glob("rank*.log"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("task.nope=1",), "task.nope: no such key"),
        (("seed=1,2", "-m"), "-m: a sweep starts the processes of its jobs itself"),
    ],
)
def test_what_cannot_be_composed_is_refused_once(
    app: Run, tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    done = app(*arguments, agent=TWO)
    assert done.returncode == 1
    (said,) = ours(done.stderr)
    assert said.startswith(f"davis-exp: {line}")
    assert not list((tmp_path / "cwd").glob("*/*/*"))


def test_a_config_is_shown_once(app: Run, tmp_path: Path) -> None:
    done = app("--cfg", "job", agent=TWO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("name: demo") == 1
    assert not list((tmp_path / "cwd").iterdir())


def test_a_rank_without_a_rendezvous_is_refused(app: Run, tmp_path: Path) -> None:
    done = app(RANK="0")
    assert done.returncode == 2
    assert done.stderr.startswith("davis-exp: RANK is set, but WORLD_SIZE=")
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "cwd").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("act", ["done", "refuse"])
def test_srun_s_ranks_work_where_the_first_does(
    tmp_path: Path, environment: dict[str, str], act: str
) -> None:
    """Two machines: working directories of their own, and the second comes seconds later."""
    (tmp_path / "other").mkdir()
    job = {"SLURM_JOB_ID": "71", "SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_NODELIST": "localhost"}
    started = []
    for rank, cwd in enumerate(("cwd", "other")):
        own = {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank), "SLURM_LOCALID": "0"}
        command = [
            sys.executable,
            "-m",
            "davis_exp",
            "train",
            f"task.act={act}",
            "task.rank=1",
            "task.note=6",
        ]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                command, cwd=tmp_path / cwd, env=environment | job | own, stdout=pipe, stderr=pipe, text=True
            )
        )
        time.sleep(2)
    (out, said), (other_out, other_said) = (process.communicate(timeout=100) for process in started)
    assert [process.returncode for process in started] == [2 * (act == "refuse")] * 2
    assert ours(said) == ["davis-exp: data.root: no folder /x; give data.root=…"] * (act == "refuse")
    assert out.count("resume is None") == 1
    assert (other_out, other_said) == ("", "")
    assert len(list(the_run(tmp_path).glob("pid*"))) == 2
    assert not list((tmp_path / "other").iterdir())
