"""What a sweep keeps, skips and goes on with, by real processes of the stand-in app."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from davis_exp.launch import job_folders, status, sweep

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Waiting = Callable[..., "contextlib.AbstractContextManager[subprocess.Popen[str]]"]


def the_sweep(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "cwd/multirun").iterdir()
    return folder


def records(folder: Path) -> dict[str, dict]:
    return {path.parent.name: status.read(path.parent) for path in folder.glob("*/status.json")}


def started(folder: Path) -> dict[str, str]:
    return {name: (record["started"], record["attempts"]) for name, record in records(folder).items()}


def test_the_same_command_skips_what_has_its_answer_and_runs_the_rest_again(app: Run, tmp_path: Path) -> None:
    assert app("-m", "task.act=done,over,once,crash", "budget=tight").returncode == 1
    folder = the_sweep(tmp_path)
    assert [r["state"] for _, r in sorted(records(folder).items())] == [
        "finished",
        "over_budget",
        "failed",
        "failed",
    ]
    before = started(folder)

    done = app("-m", "budget=tight", "task.act=done,over,once,crash")  # in another order
    assert done.returncode == 1
    assert the_sweep(tmp_path) == folder
    after = records(folder)
    assert {name: record["state"] for name, record in after.items()} == {
        "0": "finished",
        "1": "over_budget",
        "2": "finished",
        "3": "failed",
    }
    assert {name for name in before if before[name] != started(folder)[name]} == {"2", "3"}
    assert (after["2"]["attempts"], after["2"]["error"]) == (2, None)
    assert "job 0: finished before" in done.stdout
    assert not (folder / "2/error.txt").exists()
    assert "resume is auto" in (folder / "2/train.log").read_text()


def test_a_job_is_known_by_what_it_computes_not_by_its_number(app: Run, tmp_path: Path) -> None:
    assert app("-m", "name=x", "seed=1,2").returncode == 0
    before = started(tmp_path / "cwd/multirun/x")
    assert app("-m", "name=x", "task.note=null", "seed=4,2,1").returncode == 0
    folder = the_sweep(tmp_path)
    after = started(folder)
    assert {name: after[name] for name in before} == before
    assert {name: record["seed"] for name, record in records(folder).items()} == {"0": 1, "1": 2, "2": 4}
    # What status.json says of a job is what its own .hydra holds.
    assert "seed: 4" in (folder / "2/.hydra/config.yaml").read_text()


def test_another_budget_asks_again(app: Run, tmp_path: Path) -> None:
    def states(*budget: str) -> tuple[list[str], list[int]]:
        app("-m", "name=x", "encoder=a,a2", *budget)
        now = records(tmp_path / "cwd/multirun/x")
        return [now[n]["state"] for n in "01"], [now[n]["attempts"] for n in "01"]

    assert states() == (["finished", "finished"], [1, 1])
    # a2 has 5 parameters; that it is over is found by the job, which here has been told to say so
    assert states("budget=tight") == (["finished", "finished"], [1, 2])
    assert states("budget=loose") == (["finished", "finished"], [1, 2])


@pytest.mark.parametrize(
    ("state", "parameters", "limit", "settled"),
    [
        ("finished", 5, None, True),
        ("finished", 5, 5, True),
        ("finished", 5, 4, False),
        ("finished", None, 4, True),
        ("over_budget", 5, 4, True),
        ("over_budget", 5, 5, False),
        ("over_budget", 5, None, False),
        ("over_budget", None, 4, False),
        ("failed", 5, None, False),
        ("interrupted", 5, 4, False),
        ("queued", None, None, False),
    ],
)
def test_when_a_job_has_its_answer(state: str, parameters, limit, settled: bool) -> None:
    assert job_folders.settled({"state": state, "nparams": parameters}, limit) is settled


@pytest.mark.parametrize(
    ("state", "known", "settled"),
    [
        ("finished", {"nflops": 5e9, "ms": 10.0}, True),
        ("finished", {"nflops": 5e9}, False),  # nobody asked for its time when it was trained
        ("finished", {"ms": 10.5, "nflops": 5e9}, False),
        ("over_budget", {"ms": 10.5, "nflops": 5e9}, True),
        ("over_budget", {"ms": 9.5, "nflops": 5e9}, False),
        ("over_budget", {"ms": 9.5, "nflops": 7e9}, True),
    ],
)
def test_what_else_is_limited_is_part_of_the_question(state: str, known, settled: bool) -> None:
    limits = {"max_flops": 6e9, "max_ms": 10, "max_activation_mb": None}
    assert job_folders.settled({"state": state, **known}, None, limits) is settled


@pytest.mark.parametrize(
    ("aims", "expected"),
    [
        ("{}", 0.5),
        ("{ms: 100}", 0.5 * 0.5**0.07),  # it takes twice as long
        ("{ms: 400, parameters: 1000}", 0.5 * 2**0.07),
        ("{flops: 1e9}", 0.5),  # not known
        ("{ms: 0}", 0.5),
        ("{ms: .nan}", 0.5),
        ("[1, 2]", 0.5),
    ],
)
def test_a_search_weighs_a_score_by_what_the_model_costs(tmp_path: Path, aims: str, expected: float) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text(f"budget: {{aims: {aims}}}\n")
    status.update(tmp_path, state="finished", objective=0.5, ms=200.0, nparams=1000)
    assert sweep.objective(tmp_path) == pytest.approx(expected)
    status.update(tmp_path, state="over_budget")
    assert sweep.objective(tmp_path) == 0


def test_a_sweep_is_named_by_its_command_and_begun_anew_with_resume_none(app: Run, tmp_path: Path) -> None:
    for command in (
        ["seed=1,2"],
        ["seed=1,2", "hydra.verbose=false"],
        ["seed=1,3"],
        ["seed=1,2", "resume=none"],
    ):
        assert app("-m", *command).returncode == 0
    names = sorted(path.name for path in (tmp_path / "cwd/multirun").iterdir())
    assert len(names) == 3
    assert sum(name.startswith("20") and "_" in name for name in names) == 1  # the one with a date
    assert app("-m", "seed=1,2", "resume=none", "encoder=nope").returncode == 2
    assert sorted(path.name for path in (tmp_path / "cwd/multirun").iterdir()) == names


def test_a_sweep_tests_on_the_held_out_clips_unless_asked_otherwise(app: Run, tmp_path: Path) -> None:
    app("-m", "name=x", "seed=1,2")
    app("-m", "name=y", "seed=1", "++data.test_split=test")
    app("name=z")
    assert "test_split: holdout" in (tmp_path / "cwd/multirun/x/1/.hydra/config.yaml").read_text()
    assert "test_split: test" in (tmp_path / "cwd/multirun/y/0/.hydra/config.yaml").read_text()
    (single,) = (tmp_path / "cwd/runs/z").iterdir()
    assert "test_split" not in (single / ".hydra/config.yaml").read_text()


def test_an_option_of_sweep_says_what_to_sweep_over(app: Run, tmp_path: Path) -> None:
    assert app("sweep=seeds").returncode == 0
    assert [r["seed"] for _, r in sorted(records(the_sweep(tmp_path)).items())] == [1, 2]
    assert app("sweep=seeds", "--cfg", "job").returncode == 0


def test_overrides_that_the_digest_passes_over_are_told_apart(app: Run, tmp_path: Path) -> None:
    """A digest leaves callbacks and folders out; in a sweep over them the second job must not be skipped."""
    assert app("-m", "+callbacks=1,2", "seed=1").returncode == 0
    assert app("-m", "++data.root=a,b", "seed=1").returncode == 0
    assert app("-m", "+logger=1,2", "seed=1").returncode == 0
    counts = sorted(len(records(folder)) for folder in (tmp_path / "cwd/multirun").iterdir())
    assert counts == [1, 2, 2]


def test_two_processes_of_one_sweep_share_its_jobs(app: Run, tmp_path: Path) -> None:
    done = []
    threads = [threading.Thread(target=lambda: done.append(app("-m", "seed=1,2,3"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [d.returncode for d in done] == [0, 0], [d.stderr for d in done]
    found = records(the_sweep(tmp_path))
    assert [(found[n]["state"], found[n]["attempts"]) for n in "012"] == [("finished", 1)] * 3
    assert sorted(found) == ["0", "1", "2"]


def test_a_job_goes_with_its_killed_sweep_and_is_run_again(waiting: Waiting, tmp_path: Path) -> None:
    with waiting("-m", "task.note=60", "seed=1") as killed:
        folder = the_sweep(tmp_path) / "0"
        assert status.held(folder)
        began = time.monotonic()
        killed.kill()
        while status.held(folder) and time.monotonic() - began < 20:
            time.sleep(0.01)
    assert time.monotonic() - began < 10  # by itself it would go on for 60
    assert status.current(folder)["state"] == "interrupted"
    with waiting("-m", "task.note=60", "seed=1") as again:  # by the very same command, in the same folder
        record = status.read(folder)
        again.send_signal(signal.SIGTERM)
    assert (record["state"], record["attempts"]) == ("running", 2)


@pytest.mark.parametrize("at_work", [True, False])
def test_a_sweep_in_a_scripts_background_ends_at_once_when_told(
    environment: dict[str, str], tmp_path: Path, at_work: bool
) -> None:
    """What a script starts with & ignores SIGINT, and so would its jobs."""
    folder = tmp_path / "cwd"
    script = f"{sys.executable} -m davis_exp train -m seed=1 task.act=wait name=x & echo $!; wait $!"
    with subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        if at_work:
            assert any(line == "waiting\n" for line in process.stdout)
        else:
            while status.read(folder / "multirun/x/0").get("state") != "queued":
                time.sleep(0.01)
            while not (folder / "multirun/x/0/train.log").exists():
                time.sleep(0.01)
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        process.communicate(timeout=100)
    assert time.monotonic() - began < 10
    record = status.current(folder / "multirun/x/0")
    assert process.returncode == 130
    if at_work or record["state"] != "queued":  # it was not even started
        assert record["state"] == "interrupted"


def test_the_summary_is_there_while_jobs_wait_and_says_what_went_wrong(app: Run, tmp_path: Path) -> None:
    app("-m", "task.act=crash,die,done", "encoder=a2")
    folder = the_sweep(tmp_path)
    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["task.act"], row["state"]) for row in rows] == [
        ("done", "finished"),
        ("crash", "failed"),
        ("die", "failed"),
    ]
    page = (folder / "summary.html").read_text()
    assert "RuntimeError: boom" in page
    assert "train.py" in page  # the traceback
    assert "killed by SIGKILL" in page
    assert "HYDRA_FULL_ERROR None" in page  # the end of the log


@pytest.mark.parametrize(("jobs", "threads"), [(1, None), (2, "4"), (3, "2"), (16, "1"), (-1, "1")])
def test_jobs_side_by_side_share_the_cores(monkeypatch: pytest.MonkeyPatch, jobs: int, threads) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    given = sweep._sharing(jobs)
    assert given.get("OMP_WAIT_POLICY") == (None if jobs == 1 else "PASSIVE")
    assert given.get("OMP_NUM_THREADS") == threads
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert sweep._sharing(jobs)["OMP_WAIT_POLICY"] == "PASSIVE"


class TestJobs:
    def test_folders_are_claimed_in_turn_and_found_again(self, tmp_path: Path) -> None:
        first = job_folders.claim(tmp_path, "a", ["x=1"], 0)
        second = job_folders.claim(tmp_path, "b", ["x=2"], 0)  # of another sweep under the same name
        assert (first.name, second.name) == ("0", "1")
        assert job_folders.claim(tmp_path, "a", ["x=1", "y=2"], 7) == first
        assert status.read(first) == {"state": "queued", "job": 0, "overrides": ["x=1"], "identity": "a"}

    def test_a_queued_job_is_taken_by_its_overrides_or_else_its_number(self, tmp_path: Path) -> None:
        job_folders.queue(tmp_path, [["x=1"], ["x=2"], ["x=3"]])
        assert job_folders.claim(tmp_path, "c", ["x=3"], 0).name == "2"
        assert job_folders.claim(tmp_path, "b", ["x='2'"], 1).name == "1"
        job_folders.queue(tmp_path, [["x=1"], ["x=3"], ["x=4"]])
        assert [f.name for f in job_folders.folders(tmp_path)] == ["0", "1", "2", "3"]
        job_folders.unqueue(tmp_path)
        assert [f.name for f in job_folders.folders(tmp_path)] == ["1", "2"]

    def test_many_at_once_never_share_and_equals_always_do(self, tmp_path: Path) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(8) as pool:
            found = list(
                pool.map(lambda i: job_folders.claim(tmp_path, str(i % 10), [f"x={i % 10}"], 0), range(40))
            )
        assert len(set(found)) == 10
        assert [found[i] for i in range(10)] == [found[i] for i in range(30, 40)]


def test_a_run_killed_together_with_its_sweep_is_not_running_any_more(tmp_path: Path) -> None:
    status.update(tmp_path, state="running")
    assert status.current(tmp_path)["state"] == "interrupted"
    status.lock(tmp_path)
    assert status.current(tmp_path)["state"] == "running"
    status.unlock(tmp_path)


def test_the_command_is_named_whatever_its_order_and_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def name(*overrides: str) -> str:
        added, folder = sweep.prepared(overrides, holdout=True)
        assert folder.is_absolute()
        assert f"hydra.sweep.dir={folder}" in added
        return folder.name

    plain = name("encoder=a,b", "seed=1,2")
    assert plain == name("seed=1,2", "encoder=a,b", "hydra/launcher=joblib", "logger=none", "budget=mobile")
    assert plain == name("seed=1,2", "encoder=a,b", "data.workers=0", "hydra.launcher.n_jobs=2")
    assert len({plain, name("encoder=a,b"), name("encoder=a,b", "seed=1,2", "callbacks=ema")}) == 3
    assert name("encoder=a,b", "name=mine") == "mine"
    assert (
        json.dumps(sweep.prepared(["hydra.sweep.dir=here"], holdout=False)[0]) == '["hydra.sweep.dir=here"]'
    )
