"""The same sweep by every engine, and a search that goes on: real trainings of a few small clips."""

import csv
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from davis_exp.launch import status

TINY = (
    *("data=generated", "decoder=pixel", "data.train=4", "data.test=2", "data.length=6"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.clips_per_epoch=8", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"),
)
ENGINES = ("basic", "joblib", "submitit_local", "ray")
# conf/sweep/learning as it is shipped, its seed too, and an encoder that is over the budget.
SPACE = """
# @package _global_
defaults: [learning, _self_]
hydra:
  sweeper:
    n_trials: 12
    params:
      encoder: choice(pixel,timm)
"""
pytestmark = pytest.mark.slow
ENVIRON = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "davis_exp", "train", *TINY, *arguments]


def rows(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "summary.csv").open() as file:
        return sorted(csv.DictReader(file), key=lambda row: int(row["job"]))


@pytest.fixture(scope="module")
def basic(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("basic")
    arguments = ("-m", "encoder=pixel", "optimizer.lr=0.1", "seed=1,3")
    subprocess.run(command(*arguments), cwd=folder, env=ENVIRON, check=True, capture_output=True)
    (sweep,) = (folder / "multirun").iterdir()
    return rows(sweep)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_an_engine_gives_the_scores_that_the_basic_one_gives(
    engine: str, basic: list[dict[str, str]], tmp_path: Path
) -> None:
    plugin = f"hydra_plugins.hydra_{engine.partition('_')[0]}_launcher"
    if find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed")
    arguments = ("-m", "encoder=pixel", "optimizer.lr=0.1", "seed=1,3", f"hydra/launcher={engine}")
    done = subprocess.run(command(*arguments), cwd=tmp_path, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    columns = ("seed", "state", "holdout_J", "holdout contest", "parameters")
    assert [[row[c] for c in columns] for row in rows(sweep)] == [[row[c] for c in columns] for row in basic]
    assert len({row["holdout_J"] for row in basic}) == 2
    # The sweep's name is its command's, whatever runs it: another engine finds everything done.
    again = subprocess.run(
        command(*arguments[:-1]), cwd=tmp_path, env=ENVIRON, capture_output=True, text=True
    )
    assert again.returncode == 0
    assert again.stdout.count("finished before") == 2


@pytest.mark.timeout(900)
def test_a_search_trains_nothing_over_budget_and_goes_on(tmp_path: Path) -> None:
    if find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("hydra_optuna_sweeper is not installed")
    for name in ("whole", "parts"):
        (tmp_path / name / "own/sweep").mkdir(parents=True)
        (tmp_path / name / "own/sweep/space.yaml").write_text(SPACE)
    search = command("--config-dir", "own", "sweep=space", "budget.limit=1000", "name=x")

    whole = tmp_path / "whole"
    subprocess.run(search, cwd=whole, env=ENVIRON, check=True, capture_output=True)
    sweep = whole / "multirun/x"
    found = rows(sweep)
    assert len(found) == 12
    scores = [float(row["holdout_J"] or 0) for row in found]
    assert len({(row["optimizer.lr"], row["task.encoder_lr_factor"], row["encoder"]) for row in found}) == 12
    over = [row for row in found if row["encoder"] == "timm"]
    assert over
    assert {row["state"] for row in over} == {"over_budget"}
    assert not [row for row in over if (sweep / row["folder"] / "checkpoints").exists()]
    best = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(max(scores))
    assert best["best_value"] >= scores[0]

    parts = tmp_path / "parts"
    with subprocess.Popen(search, cwd=parts, env=ENVIRON, stdout=subprocess.DEVNULL) as process:
        while status.read(parts / "multirun/x/4").get("state") != "running":
            time.sleep(0.1)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    before = [status.read(parts / f"multirun/x/{i}") for i in range(4)]
    subprocess.run(search, cwd=parts, env=ENVIRON, check=True, capture_output=True)
    assert [status.read(parts / f"multirun/x/{i}") for i in range(4)] == before
    columns = ("job", "optimizer.lr", "task.encoder_lr_factor", "encoder", "state", "holdout_J")
    again = rows(parts / "multirun/x")
    assert [[row[c] for c in columns] for row in again] == [[row[c] for c in columns] for row in found]
