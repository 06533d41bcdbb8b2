"""How one command carries Hydra: runs, resumed runs and sweeps, as real processes of a small stand-in app."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from davis_exp.config import conf_dir
from davis_exp.launch import runs, status
from davis_exp.launch.hydra import run_hydra
from davis_exp.utils.errors import BadInput

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Waiting = Callable[..., "contextlib.AbstractContextManager[subprocess.Popen[str]]"]


def folders(tmp_path: Path, pattern: str = "runs/demo/*") -> list[Path]:
    return sorted((tmp_path / "cwd").glob(pattern))


def test_a_run_has_a_folder_of_its_own_and_says_how_it_went(app: Run, tmp_path: Path) -> None:
    done = app("encoder=a2")
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = folders(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    record = status.read(folder)
    assert (record["state"], record["command"], record["seed"], record["nparams"]) == (
        "finished",
        "train",
        3,
        5,
    )
    assert len(record["digest"]) == 64
    assert (folder / ".hydra" / "overrides.yaml").read_text() == "- encoder=a2\n"
    # The job sees the user's environment and command line.
    assert done.stdout.startswith("HYDRA_FULL_ERROR None argv ['train', 'encoder=a2']")
    app()
    assert len(folders(tmp_path)) == 2


@pytest.mark.parametrize(
    ("act", "code", "state", "line"),
    [
        ("refuse", 2, "bad_input", "davis-exp: data.root: no folder /x; give data.root=…"),
        ("over", 3, "over_budget", "davis-exp: over budget by 3"),
        ("lightning", 130, "interrupted", "davis-exp: interrupted; nothing was saved yet in {run}"),
        ("crash", 1, "failed", "davis-exp: failed: RuntimeError: boom, traceback in {run}/error.txt"),
    ],
)
def test_a_run_that_fails_says_so_in_one_line(
    app: Run, tmp_path: Path, act: str, code: int, state: str, line: str
) -> None:
    done = app(f"task.act={act}")
    (folder,) = folders(tmp_path)
    assert (done.returncode, done.stderr) == (
        code,
        line.format(run=folder.relative_to(tmp_path / "cwd")) + "\n",
    )
    assert status.read(folder)["state"] == state
    assert ("part  parameters" in done.stdout) == (act == "over")
    if act == "crash":
        assert "RuntimeError: boom" in (folder / "error.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_with_it(
    waiting: Waiting, tmp_path: Path, number: signal.Signals
) -> None:
    with waiting() as process:
        (folder,) = folders(tmp_path)
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").touch()
        process.send_signal(number)
        _, said = process.communicate(timeout=50)
    run = folder.relative_to(tmp_path / "cwd")
    assert (process.returncode, said) == (
        130,
        f"davis-exp: interrupted; go on with: davis-exp train resume={run}\n",
    )
    assert status.read(folder)["state"] == "interrupted"


@pytest.mark.parametrize("act", ["refuse", "crash"])
def test_who_asks_for_the_full_error_gets_it(app: Run, act: str) -> None:
    done = app(f"task.act={act}", HYDRA_FULL_ERROR="1")
    assert done.returncode == (2 if act == "refuse" else 1)
    assert "Traceback" in done.stderr
    assert "commands/train.py" in done.stderr
    assert done.stdout.startswith("HYDRA_FULL_ERROR 1")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["encodr=a"],
            "encodr: no such key; did you mean 'encoder'? There are: encoder, name, resume, seed, task",
        ),
        (["encoder=b"], "encoder=b: no such option; there are: a, a2"),
        (["encoder=a3"], "encoder=a3: no such option; did you mean 'encoder=a'? There are: a, a2"),
        (["encoder.dept=3"], "encoder.dept: no such key; did you mean 'encoder.depth'? There are: depth"),
        (
            ["encoder=a2", "~encoder.dept"],
            "encoder.dept: no such key; did you mean 'encoder.depth'? There are: depth",
        ),
        (["encoder.depth.x=3"], "encoder.depth.x: encoder.depth is a value and has no keys"),
        (["encodr=a", "nam=x"], "encodr: no such key; davis-exp COMMAND --cfg job shows which there are"),
        (
            ["+encoder=a2"],
            "encoder: given twice; write encoder=a2 without a +, or 'override encoder: a2' in a",
        ),
        (["+seed=4"], "+seed: 'seed' is there already; write it without the +"),
        (
            ["encoder=null"],
            "a group takes the name of an option (GROUP=OPTION); to leave a group out, write ~GROUP",
        ),
        (["seed=x"], "seed: expected int, got 'x' (str)"),
        (["+sede=3"], "sede: no such key; did you mean 'seed'? There are: "),
        (["seed=1,2"], "seed=1,2: several values; add -m to sweep over them, or write seed=[1,2] for a list"),
        (["name=["], "cannot read 'name=[': quote the value, twice for the shell: 'name=\"[\"'"),
        (
            ["name=it's"],
            """cannot read 'name=it's': quote the value, twice for the shell: 'name="it'"'"'s"'""",
        ),
        (["name='x'y"], "cannot read 'name='x'y': "),
        (["train"], "'train' is no override: write KEY=VALUE or GROUP=OPTION"),
        (["name=a/b"], "name: 'a/b' cannot be a folder's name; give name=… without slashes"),
        (["task.note=${nope}"], "task.note: Interpolation key 'nope' not found"),
        (["hydra.run.dri=x"], "hydra.run.dri: no such key; did you mean 'hydra.run.dir'? There are: dir"),
        (["hydra.searchpath=[file:///nope]"], "hydra.searchpath: there is no folder /nope"),
        (["--config-dir", "/nope"], "Additional config directory '/nope' not found"),
        (["--config-name", "nope"], "Cannot find primary config 'nope'."),
        (["--config-name", "broken"], "while parsing a flow node"),
        (["--config-name", "missing"], "checkpoint: missing; give checkpoint=…"),
        (["--nope"], "train: unrecognized arguments: --nope (davis-exp train --help)"),
        (["-m", "seed=1,2", "encoder=a,b"], "encoder=b: no such option; there are: a, a2"),
        (["resume=nope"], "resume: nope is no run's folder (it has no readable .hydra)"),
    ],
)
def test_what_cannot_be_composed_is_refused_in_one_line(app: Run, arguments: list[str], line: str) -> None:
    done = app(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"davis-exp: {line}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["--cfg", "all", "--resolve"], ["--info", "config"]])
def test_looking_at_a_config_makes_no_folder(app: Run, tmp_path: Path, arguments: list[str]) -> None:
    done = app(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo" in done.stdout
    assert list((tmp_path / "cwd").iterdir()) == []


def test_no_config_name_has_anything_written_beside_the_runs(app: Run, tmp_path: Path) -> None:
    """Not one that says `hydra.run.dir: .`, as `budget` does, nor one that says nothing of where runs are kept."""
    cwd = tmp_path / "cwd"
    (cwd / "mine").mkdir()
    (cwd / "mine/here.yaml").write_text(
        "defaults: [train, _self_]\nhydra:\n  run:\n    dir: .\n  output_subdir: null\n"
    )
    (cwd / "mine/own.yaml").write_text(
        "defaults: [_self_, {encoder: a}]\nname: own\nresume: null\nseed: 3\ntask: {act: pass, rank: null}\n"
    )
    for config in ("here", "own"):
        done = app("--config-dir", "mine", "--config-name", config)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in cwd.iterdir()) == ["mine", "runs"]
    assert [status.read(folder)["state"] for folder in cwd.glob("runs/*/*")] == ["finished", "finished"]


def test_where_runs_are_kept_is_said_once() -> None:
    found = yaml.safe_load((conf_dir() / "_run.yaml").read_text())
    assert (found["run"]["dir"], found["sweep"]["subdir"]) == (runs.RUN_DIR, runs.JOB_DIR)


def test_options_and_overrides_mix_in_any_order(app: Run) -> None:
    done = app("encoder=a2", "--cfg", "job", "name=other")
    assert done.returncode == 0
    assert "name: other" in done.stdout
    assert "depth: 5" in done.stdout


def test_without_a_hydra_folder_nothing_is_recorded(app: Run, tmp_path: Path) -> None:
    """So `budget` runs."""
    app()
    (folder,) = folders(tmp_path)
    before = (folder / "status.json").read_bytes()
    status.lock(folder)  # by whoever has the run
    try:
        done = app(f'hydra.run.dir="{folder}"', "hydra.output_subdir=null", "task.act=over")
    finally:
        status.unlock(folder)
    assert done.returncode == 3
    assert len(folders(tmp_path)) == 1
    assert json.loads(before)["started"] == status.read(folder)["started"]
    assert status.read(folder)["state"] == "finished"


def test_a_folder_that_hydra_would_look_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a${oc.env:HOME}"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(BadInput, match=r"a\$\{oc.env:HOME\}: no folder with \$\{ in its name"):
        run_hydra("train", "davis_exp.commands.train", [])
    assert list(folder.iterdir()) == []


class TestResume:
    def test_a_run_goes_on_with_its_own_config_in_its_own_folder(self, app: Run, tmp_path: Path) -> None:
        own = tmp_path / "own" / "encoder"
        own.mkdir(parents=True)
        (own / "mine.yaml").write_text("{_target_: x.Mine, depth: 7}")
        assert app("--config-dir", str(own.parent), "encoder=mine", "seed=5", "name=other").returncode == 0
        (folder,) = folders(tmp_path, "runs/other/*")

        refused = app(f"resume={folder}", "seed=6")
        assert refused.returncode == 2
        assert f"give them again: 'hydra.searchpath=[file://{own.parent}]'" in refused.stderr
        assert app(f"resume={folder}", "seed=6", "--config-dir", str(own.parent)).returncode == 0
        assert app(f"resume='{folder}'", f"hydra.searchpath=[file://{own.parent}]").returncode == 0
        assert folders(tmp_path, "runs/*/*") == [folder]
        config = (folder / ".hydra" / "config.yaml").read_text()
        assert "seed: 6" in config
        assert "depth: 7" in config
        assert f"resume: {folder}" in config

    @pytest.mark.parametrize("value", ["null", "none", "auto"])
    def test_values_that_name_no_run_start_a_new_one(self, app: Run, tmp_path: Path, value: str) -> None:
        assert app(f"resume={value}").returncode == 0
        assert len(folders(tmp_path)) == 1

    def test_a_run_that_is_in_use_is_left_alone(self, app: Run, tmp_path: Path) -> None:
        app()
        (folder,) = folders(tmp_path)
        before = {
            path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
        }
        status.lock(folder)
        try:
            done = app(f"resume={folder}", "seed=9")
        finally:
            status.unlock(folder)
        assert done.returncode == 2
        assert done.stderr.startswith(f"davis-exp: {folder} is in use by another process (pid {os.getpid()})")
        assert {path: path.read_bytes() for path in before} == before

    def test_only_a_single_run_can_be_resumed(self, app: Run, tmp_path: Path) -> None:
        app()
        (folder,) = folders(tmp_path)
        done = app("-m", f"resume={folder}", "seed=1,2")
        assert (done.returncode, done.stderr) == (
            2,
            f"davis-exp: resume={folder}: continues one run; leave out -m\n",
        )


class TestSweep:
    def test_every_job_runs_whatever_becomes_of_the_others(self, app: Run, tmp_path: Path) -> None:
        started = time.monotonic()
        done = app("-m", "task.act=crash,over,die,done", "encoder=a2")
        assert done.returncode == 1
        assert time.monotonic() - started < 50  # not until what a job left behind has ended
        (sweep,) = folders(tmp_path, "multirun/*")
        assert folders(tmp_path, "runs/*") == []
        jobs = [status.read(sweep / str(n)) for n in range(4)]
        assert [job["state"] for job in jobs] == ["failed", "over_budget", "failed", "finished"]
        assert [job["exit_code"] for job in jobs] == [1, 3, -9, 0]
        assert "SIGKILL" in jobs[2]["error"]
        assert (sweep / "3" / ".hydra" / "config.yaml").is_file()

        table = done.stdout[done.stdout.index("\njob ") :].split("\n\n")[0].strip().splitlines()
        assert [line.split()[:5] for line in table[:5]] == [
            ["job", "task.act", "state", "hold-out", "J"],
            ["3", "done", "finished", "50.00", "5"],
            ["0", "crash", "failed", "-", "5"],
            ["1", "over", "over_budget", "-", "9"],
            ["2", "die", "failed", "-", "5"],
        ]
        assert table[5:] == ["job 0: RuntimeError: boom", f"job 2: {jobs[2]['error']}"]
        log = (sweep / "0" / "train.log").read_text()  # kept, and echoed
        assert "davis-exp: failed: RuntimeError: boom, traceback in" in log
        assert log in done.stdout
        assert "Traceback" not in log + done.stderr

    def test_over_budget_is_an_answer_not_a_failure(self, app: Run) -> None:
        done = app("-m", "task.act=over,done")
        assert (done.returncode, done.stderr) == (0, "")

    def test_a_job_composed_without_a_hydra_folder_runs_as_well(self, app: Run, tmp_path: Path) -> None:
        assert app("-m", "seed=1,2", "hydra.output_subdir=null").returncode == 0
        assert [status.read(f)["seed"] for f in folders(tmp_path, "multirun/*/[01]")] == [1, 2]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interrupt_ends_the_job_in_order_and_the_sweep(
        self, environment: dict[str, str], tmp_path: Path, number: signal.Signals
    ) -> None:
        command = [sys.executable, "-m", "davis_exp", "train", "-m", "task.act=wait,done"]
        cwd = tmp_path / "cwd"
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=environment
        ) as sweep:
            assert sweep.stdout is not None
            assert any(line == b"waiting\n" for line in sweep.stdout)
            started = time.monotonic()
            sweep.send_signal(number)
            _, stderr = sweep.communicate(timeout=50)
        assert time.monotonic() - started < 30
        assert (sweep.returncode, stderr) == (130, b"davis-exp: interrupted\n")
        folder, waiting = (path.parent for path in folders(tmp_path, "multirun/*/*/status.json"))
        record = status.read(folder)
        assert (record["state"], record["job"]) == ("interrupted", 0)
        assert status.read(waiting)["state"] == "queued"
        with pytest.raises(ProcessLookupError):
            os.kill(record["pid"], 0)


def test_the_objective_is_finite_whatever_the_job_wrote(tmp_path: Path) -> None:
    from davis_exp.launch.sweep import objective
    from davis_exp.metrics.protocols import summary

    def value(score: Any = None, state: str = "finished", **fields: Any) -> float:
        fields = {"objective": None, "test_split": "holdout"} | fields
        status.update(tmp_path, **fields, state=state)
        (tmp_path / "score.json").write_text(json.dumps(score))
        return objective(tmp_path)

    contest = summary({"x": (["x/0"], {"iou": [0.25], "J": [0.25], "F": [0.0]})})
    assert value() == 0.0
    assert value(contest) == 0.25
    assert value(contest, objective=0.5) == 0.5
    assert value(contest, test_split="test") == 0.0  # nothing is chosen by the score on test sequences
    assert value(contest, objective=float("nan")) == 0.25
    assert value({"contest": {"segmentation_metric": float("nan")}}) == 0.0
    assert value(contest, state="over_budget", objective=0.5) == 0.0
