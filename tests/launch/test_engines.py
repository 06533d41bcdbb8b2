"""The same sweep by every engine: real trainings of a few small clips."""

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TINY = (
    *("data=generated", "decoder=pixel", "data.train=4", "data.test=2", "data.length=6"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.clips_per_epoch=8", "trainer.max_epochs=2", "trainer.log_every_n_steps=1"),
)
ENGINES = ("basic", "joblib", "submitit_local", "ray")
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


def test_ray_keeps_for_a_job_what_its_devices_need(tmp_path: Path) -> None:
    if find_spec("hydra_plugins.hydra_ray_launcher") is None:
        pytest.skip("hydra_plugins.hydra_ray_launcher is not installed")
    two = ("encoder=pixel", "trainer=ddp_cpu", "trainer.devices=2", "seed=1,3", "hydra/launcher=ray_local")
    done = subprocess.run(command("-m", *two), cwd=tmp_path, env=ENVIRON, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    assert [row["state"] for row in rows(sweep)] == ["finished", "finished"]
