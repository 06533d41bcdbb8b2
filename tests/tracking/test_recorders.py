"""MLflow and Aim: real trainings into local files and servers."""

import json
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from davis_exp.cli import main
from davis_exp.tracking.recorder import Recorder

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=3", "data.test=1", "data.length=3"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=2", "data.workers=0"),
    *("data.clips_per_epoch=4", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "name=tiny"),
)
INSTALLED = {name: find_spec(name) is not None for name in ("mlflow", "aim")}


def train(folder: Path, *overrides: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | environ
    command = [sys.executable, "-m", "davis_exp", "train", *TINY, *overrides]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def made_in(folder: Path) -> Path:
    (run,) = (folder / "runs/tiny").iterdir()
    return run


class Broken(Recorder):
    service = "Nowhere"

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, []

    def keep_config(self, config):
        self.kept.append(config)

    def keep_score(self, score):
        self.kept.append(score)

    def keep_file(self, path):
        raise ConnectionError("no server")

    def finalize(self, status):
        self.kept.append(status)


def test_what_is_wrong_there_is_said_once_and_ends_nothing(tmp_path, caplog):
    recorder = Broken(tmp_path)
    recorder.config = {"seed": 1}
    (tmp_path / "score.json").write_text("{}")
    recorder.hand_in({"J": 0.5})
    assert recorder.kept == [{"seed": 1}, {"J": 0.5}]
    recorder.hand_in({"J": 0.5})
    assert [record.getMessage() for record in caplog.records] == [
        "Nowhere: nothing more is recorded there (no server)"
    ]
    assert len(recorder.kept) == 2


def test_a_run_remembers_what_it_is_called_there(tmp_path):
    recorder = Broken(tmp_path)
    assert recorder.remembered() is None
    recorder.remember("0a1b")
    assert Broken(tmp_path).remembered() == "0a1b"
    (tmp_path / ".nowhere").write_text("../../etc\n")
    assert recorder.remembered() is None


@pytest.mark.parametrize("name", ["mlflow", "aim"])
def test_a_logger_that_is_not_installed_says_what_to_type(name, tmp_path, monkeypatch, capfd):
    if INSTALLED[name]:
        pytest.skip(f"{name} is installed")
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY, f"logger={name}"]) == 2
    error = capfd.readouterr().err
    assert f"pip install 'davis_exp[{name}]'" in error
    assert len(error.strip().splitlines()) == 1


def mlflow_runs(uri: str):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("davis_exp")
    return client, client.search_runs([experiment.experiment_id])


def hold_mlflow(uri: str, run: Path) -> None:
    client, (found,) = mlflow_runs(uri)
    assert found.info.status == "FINISHED"
    assert found.data.params["encoder/_target_"].endswith("PixelEncoder") or "encoder" in str(
        found.data.params
    )
    score = json.loads((run / "score.json").read_text())
    assert found.data.metrics["score/mean_iou"] == pytest.approx(score["contest"]["mean_iou"])
    assert found.data.metrics["score/davis2016/J_and_F"] == pytest.approx(score["davis2016"]["J&F"])
    curve = client.get_metric_history(found.info.run_id, "val/J")
    assert [point.step for point in curve] == [1, 3]
    artifacts = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert artifacts == {"score.json", "confidence.json", "config.yaml", "results", "best.ckpt"}
    assert found.info.run_name == f"tiny/{run.name}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_in_a_file(tmp_path):
    if not INSTALLED["mlflow"]:
        pytest.skip("mlflow is not installed")
    done = train(tmp_path, "logger=mlflow", "logger.checkpoints=true", MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr
    run = made_in(tmp_path)
    hold_mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}", run)
    again = train(tmp_path, f"resume={run}", "trainer.max_epochs=3", MLFLOW_TRACKING_URI="")
    assert again.returncode == 0, again.stderr
    client, (found,) = mlflow_runs(f"sqlite:///{tmp_path / 'mlflow.db'}")  # the same one
    assert [point.step for point in client.get_metric_history(found.info.run_id, "val/J")] == [1, 3, 5]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_by_a_server_and_without_one(tmp_path):
    if not INSTALLED["mlflow"]:
        pytest.skip("mlflow is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri, where = f"http://127.0.0.1:{port}", tmp_path / "server"
    where.mkdir()
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    alone = train(tmp_path, "logger=mlflow", f"logger.uri={uri}", **quick)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.count("MLflow: nothing more is recorded there") == 1
    made_in(tmp_path).rename(where / "alone")
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", "sqlite:///a.db", "--artifacts-destination", "kept", "--workers", "1"),
        ],
        cwd=where,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        done = train(tmp_path, "logger=mlflow", f"logger.uri={uri}", "logger.checkpoints=true")
        assert done.returncode == 0, done.stderr
        hold_mlflow(uri, made_in(tmp_path))
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_aim_in_a_repository(tmp_path):
    if not INSTALLED["aim"]:
        pytest.skip("aim is not installed")
    done = train(tmp_path, "logger=aim", "logger.checkpoints=true", "logger.repo=.")
    assert done.returncode == 0, done.stderr
    assert "nothing more is recorded" not in done.stdout
    run = made_in(tmp_path)
    from aim import Repo, Run

    (known,) = Repo.from_path(str(tmp_path)).list_all_runs()
    found = Run(known, repo=str(tmp_path), force_resume=True, system_tracking_interval=None)
    assert found.name == f"tiny/{run.name}"
    assert found["hparams", "name"] == "tiny"
    score = json.loads((run / "score.json").read_text())
    assert found["score", "mean_iou"] == pytest.approx(score["contest"]["mean_iou"])
    names = {metric.name for metric in found.metrics()}
    assert {"val/J", "train/loss"} <= names
    kept = {path.name for path in (tmp_path / ".aim/artifacts").rglob("*") if path.is_file()}
    assert {"score.json", "confidence.json", "best.ckpt", "paths.json"} <= kept
