"""Searches: spaces in Hydra's words, and trials that are killed, given up and gone on with."""

import csv
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from davis_exp.cli import main
from davis_exp.launch.space import space
from davis_exp.runs import status, trials
from davis_exp.utils.errors import BadInput

if find_spec("optuna") is None:
    pytest.skip("Optuna is not installed", allow_module_level=True)

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=4", "data.test=2", "data.length=6"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.clips_per_epoch=8", "trainer.max_epochs=10", "trainer.log_every_n_steps=1"),
)
LR = "optimizer.lr=tag(log,interval(0.3,20))"
ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


# ---- what is searched ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=1,2", CategoricalDistribution(("1", "2"))),
        ("a=choice(x,y,x)", CategoricalDistribution(("x", "y"))),
        ("a=choice('b, c',d)", CategoricalDistribution((r"b\,\ c", "d"))),
        ("a=range(1,5)", IntDistribution(1, 4)),  # as Hydra counts: without the end
        ("a=range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("a=range(0.0,1.0,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("a=shuffle(range(1,3))", CategoricalDistribution(("1", "2"))),
        ("a=interval(0.5,2)", FloatDistribution(0.5, 2)),
        ("a=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("a=int(interval(1,8))", IntDistribution(1, 8)),
        ("a=tag(int,log,interval(1,8))", IntDistribution(1, 8, log=True)),
    ],
)
def test_a_space_is_said_in_hydras_words(override, expected):
    fixed, found = space(["b=3", override])
    assert fixed == ["b=3"]
    (own,) = found.values()
    if isinstance(expected, CategoricalDistribution) and "shuffle" in override:
        assert sorted(own.choices) == sorted(expected.choices)
    else:
        assert own == expected


def test_the_last_word_on_a_key_counts():
    assert space(["a=1,2", "b=1,2", "a=3"])[0] == ["a=3"]
    assert set(space(["a=1", "a=1,2"])[1]) == {"a"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["a=1"], "nothing to search"),
        (["a=tag(log,interval(0,1))"], "a=tag"),  # no logarithm of 0
        (["a=interval(2,1)"], "a=interval"),
    ],
)
def test_what_cannot_be_searched_is_refused(overrides, said):
    with pytest.raises(BadInput, match=said):
        space(overrides)


def test_settings_are_optunas_own_and_refused_by_their_key():
    assert trials.pruner(None).prune(None, None) is False
    assert trials.sampler({"name": "RandomSampler", "seed": 3}, 4)._rng.rng.get_state()[1][0] == 7
    for settings, said in (
        ({"name": "Tpe"}, "search.pruner.name.*MedianPruner"),
        ({"name": "MedianPruner", "startup": 3}, "search.pruner.startup"),
        ({"name": "PercentilePruner", "percentile": 300.0}, "search.pruner"),
        ({"name": "BasePruner"}, "search.pruner.name"),
    ):
        with pytest.raises(BadInput, match=said):
            trials.pruner(settings)


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (["sweep=learning"], "davis-exp search sweep=learning"),
        (["optimizer.lr=interval(0,1)", "-m"], "davis-exp search 'optimizer.lr=interval(0,1)'"),
        (
            ["sweep=learning", "encoder=mit_b1", "hydra.sweeper.n_trials=12", "hydra.sweeper.n_jobs=2"],
            "davis-exp search sweep=learning encoder=mit_b1 search.trials=12",
        ),
        (["-m", "hydra/sweeper=optuna", "seed=1,2"], "davis-exp search seed=1,2"),
    ],
)
def test_a_search_asked_of_train_is_told_what_to_type(command, instead, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *command]) == 2
    error = capfd.readouterr().err.strip()
    assert error == f"davis-exp: a search is a command of its own: {instead}"
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "defaults: [learning, _self_]\nhydra: {sweeper: {n_trials: 12}}",
            "n_trials: searches are davis-exp search",
        ),
        (
            "defaults: [override /hydra/sweeper: optuna]",
            "hydra/sweeper=optuna: a search is a command of its own",
        ),
    ],
)
def test_an_option_of_ones_own_for_the_former_sweeper_is_told_so(text, said, tmp_path, monkeypatch, capfd):
    (tmp_path / "own/sweep").mkdir(parents=True)
    (tmp_path / "own/sweep/mine.yaml").write_text(f"# @package _global_\n{text}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config-dir", "own", "sweep=mine"]) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((), "nothing to search"),
        ((LR, "search.trials=0"), "search.trials"),
        ((LR, "search.sampler.name=Best"), "search.sampler.name"),
        ((LR, "search.trails=3"), "search.trails: no such key"),
        ((LR, "--workers", "0"), "--workers"),
        ((LR, "hydra.launcher.n_jobs=2"), "n_jobs"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_a_line(command, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["search", *TINY, *command]) == 2
    error = capfd.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.rglob("status.json"))


# ---- how it goes --------------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "davis_exp", "search", *TINY, LR, *arguments]


def finished(folder: Path, *arguments: str) -> None:
    done = subprocess.run(command(*arguments), cwd=folder, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout[-3000:]}"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def steps(folder: Path) -> int:
    """How many optimizer steps all jobs have logged."""
    logged = 0
    for job in folder.glob("*/metrics.csv"):
        with job.open() as file:
            logged += sum(bool(row["train/loss"]) for row in csv.DictReader(file))
    return logged


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_by_two_workers_killed_and_gone_on_with_has_all_its_answers_in_fewer_steps(tmp_path):
    wanted = ("search.trials=12", "--workers", "2")
    pruned, whole = tmp_path / "multirun/pruned", tmp_path / "multirun/whole"
    with subprocess.Popen(
        command(*wanted, "name=pruned"), cwd=tmp_path, env=ENVIRON, stdout=subprocess.DEVNULL
    ) as process:
        while not (
            status.known(pruned / "4").get("state") == "running" and (pruned / "4/metrics.csv").exists()
        ):
            time.sleep(0.1)
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    before = {
        path: status.known(path)
        for path in pruned.iterdir()
        if status.known(path).get("state") in ("finished", "pruned")
    }
    assert before
    finished(tmp_path, *wanted, "name=pruned")
    found = rows(pruned)
    assert len(found) == 12
    assert {row["state"] for row in found} == {"finished", "pruned"}
    assert {path: status.known(path) for path in before} == before  # what had its answer was left alone
    kept = trials.study(pruned).get_trials()
    assert [trial.state for trial in kept].count(TrialState.PRUNED) == [row["state"] for row in found].count(
        "pruned"
    )
    assert all(trial.state.is_finished() for trial in kept)
    best = max(trial.value for trial in kept if trial.state == TrialState.COMPLETE)
    assert best == max(float(row["holdout_J"]) for row in found if row["state"] == "finished")

    finished(tmp_path, *wanted, "name=whole", "search.pruner=null")
    assert {row["state"] for row in rows(whole)} == {"finished"}
    assert len(rows(whole)) == 12
    assert steps(pruned) < steps(whole) == 12 * 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_ends_all_workers_and_what_failed_is_tried_again(tmp_path):
    run = command("search.trials=3", "name=x", "--workers", "2", "search.pruner=null")
    folder = tmp_path / "multirun/x"
    with subprocess.Popen(run, cwd=tmp_path, env=ENVIRON, stdout=subprocess.DEVNULL) as process:
        while not all(status.known(folder / n).get("state") == "running" for n in "01"):
            time.sleep(0.1)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert [status.known(folder / n)["state"] for n in "01"] == ["interrupted"] * 2
    own = trials.study(folder)
    first = own.get_trials()[0]
    own.tell(first.number, state=TrialState.FAIL)  # as a job that crashed would
    subprocess.run(run, cwd=tmp_path, env=ENVIRON, check=True, capture_output=True)
    assert [row["state"] for row in rows(folder)] == ["finished"] * 3
    after = trials.study(folder).get_trials()
    assert [trial.user_attrs["again"] for trial in after if "again" in trial.user_attrs] == [first.number]
    assert len(after) == 4
    other = [part.replace("20))", "30))") for part in run]
    refused = subprocess.run(other, cwd=tmp_path, env=ENVIRON, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "give this one a name of its own" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_over_budget_is_an_answer_and_nothing_of_it_is_trained(tmp_path):
    run = command("encoder=choice(pixel,timm)", "budget.limit=1000", "search.trials=6", "name=x")
    subprocess.run(run, cwd=tmp_path, env=ENVIRON, check=True, capture_output=True)
    found = rows(tmp_path / "multirun/x")
    assert len(found) == 6
    over = [row for row in found if row["encoder"] == "timm"]
    assert over
    assert {row["state"] for row in over} == {"over_budget"}
    assert not [row for row in over if (tmp_path / "multirun/x" / row["folder"] / "checkpoints").exists()]
