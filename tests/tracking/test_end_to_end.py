"""The contest from end to end: real processes, the real client, the server of tests/wandb_server."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from davis_exp.data.sources import open_source
from davis_exp.results.artifact import Results
from davis_exp.results.scoring import score

pytestmark = pytest.mark.slow


def publish(folder, name):
    with wandb.init(entity="wandb", project="davis", job_type="download_data") as run:
        artifact = wandb.Artifact(name, type="dataset")
        artifact.add_dir(str(folder))
        run.log_artifact(artifact, aliases=["contest"]).wait(30)


def contents(artifact):
    return {path: artifact.content(path) for path in artifact.contents}


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def contest_data(tiny):
    """The tiny overrides, but for the data set."""
    ours = ("data=", "data.train=", "data.test=", "data.length=", "data.height=", "data.width=")
    return [override for override in tiny if not override.startswith(ours)]


def test_from_the_data_artifact_to_the_submission(server, cli, contest, tiny, tmp_path, monkeypatch):
    publish(contest / "train", "davis2016-train")
    publish(contest / "test", "davis2016-val")
    server.runs.clear()
    truth = "wandb/davis/davis2016-val:contest"
    cache = {"DAVIS_EXP_CACHE": str(tmp_path / "cache")}
    data = [
        "data=contest",
        "data.artifact=wandb/davis/davis2016-train:contest",
        f"data.test_artifact={truth}",
    ]
    done = cli("train", "logger=wandb", "name=net", *contest_data(tiny), *data, **cache)
    assert done.returncode == 0, done.stdout + done.stderr

    (folder,) = (tmp_path / "runs/net").iterdir()
    run = server.run
    local = json.loads((folder / "score.json").read_text())["contest"]
    assert run.summary["segmentation_metric"] == pytest.approx(local["segmentation_metric"])
    assert {used for _, used in server.used} == {"davis2016-train:v0", "davis2016-val:v0"}
    assert contents(server.artifact("tester/davis_exp/net-result")) == files(folder / "results")

    whole = json.loads((contest / "train" / "paths.json").read_text())
    split = {
        part: json.loads(server.artifact(f"tester/davis_exp/davis2016-split-{part}").content("paths.json"))
        for part in ("train", "holdout")
    }
    assert {**split["train"]["raw"], **split["holdout"]["raw"]} == whole["raw"]
    assert not split["train"]["raw"].keys() & split["holdout"]["raw"].keys()
    assert server.artifact("tester/davis_exp/davis2016-split-train").type == "split-data"

    program = "import sys, wandb; wandb.Api().artifact(sys.argv[1]).download(root='elsewhere')"
    command = [sys.executable, "-c", program, "tester/davis_exp/net-result:latest"]
    environ = os.environ | {"WANDB_CACHE_DIR": str(tmp_path / "another")}
    subprocess.run(command, cwd=tmp_path, env=environ, check=True, timeout=100)
    assert files(tmp_path / "elsewhere") == files(folder / "results")
    again = score(Results.open(tmp_path / "elsewhere"), open_source(contest).sequences("test"))
    assert again["contest"] == local

    done = cli("submit", "elsewhere", "--data", truth, **cache)
    assert done.returncode == 0, done.stdout + done.stderr
    scoring = list(server.runs.values())[-1]
    assert done.stdout.splitlines()[-1].endswith(f" {scoring.path}")
    assert scoring.summary["mean_iou"] == pytest.approx(local["mean_iou"])
    submitted = server.artifact("tester/davis_exp/net-result-submission")
    assert len(json.loads(submitted.content("val-eval-data.table.json"))["data"]) == 8
    assert server.artifact("tester/davis_exp/net-result").version == 0  # the same content is the same version
    assert server.used[-1] == (scoring.id, "net-result:v0")


def test_offline_first_then_sync_and_submit_deliver_both(server, cli, tiny, contest, tmp_path):
    data = ["data=contest", f"data.root={contest / 'train'}", f"data.test_root={contest / 'test'}"]
    train = ["train", "logger=wandb", "name=net", *contest_data(tiny), *data]
    done = cli(*train, WANDB_MODE="offline", WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not server.requests
    # What the run says is how both are handed in later.
    synced = re.search(r"wandb sync (\S+)", done.stdout)
    submitted = re.search(r"davis-exp submit (\S+)", done.stdout)
    assert synced
    assert submitted
    results = files(Path(submitted[1]))

    command = [str(Path(sys.executable).with_name("wandb")), "sync", synced[1]]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100, capture_output=True)
    run = server.run
    assert run.state == "finished"
    assert run.values["cfg"]["name"] == "net"
    assert run.values["davis_exp"]["seed"] == 0
    assert {"train/loss", "val/J", "segmentation_metric", "nparams"} <= run.summary.keys()
    assert any("train/loss" in row for row in run.history)

    done = cli("submit", submitted[1], "--data", str(contest))
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(server.artifact("tester/davis_exp/net-result")) == results
    assert server.artifact("tester/davis_exp/net-result-submission").type == "submission"


def test_an_offline_run_that_is_resumed_is_one_run(server, cli, tiny, tmp_path):
    """The second part has the first's id, and what it says hands in both."""
    offline = {"WANDB_MODE": "offline", "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = cli("train", "logger=wandb", "name=net", "hydra.run.dir=a run", *tiny, **offline)
    assert done.returncode == 0, done.stdout + done.stderr
    done = cli("train", "resume='a run'", "trainer.max_steps=3", **offline)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = sorted((tmp_path / "a run/wandb").glob("offline-run-*"))
    assert len(parts) == 2
    assert len({part.name.rpartition("-")[2] for part in parts}) == 1
    synced = re.search(r"wandb (sync .*)", done.stdout)
    assert synced
    assert shlex.split(synced[1]) == ["sync", *map(str, parts)]
    command = [str(Path(sys.executable).with_name("wandb")), *shlex.split(synced[1])]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100, capture_output=True)
    (run,) = server.runs.values()
    losses = {row["trainer/global_step"]: row["train/loss"] for row in run.history if "train/loss" in row}
    assert sorted(losses) == [0, 1, 2]


def test_a_server_that_fails_half_way_leaves_a_finished_job_with_its_results(server, cli, tiny, tmp_path):
    """Every upload is cut off; the job ends well, and what it says hands everything in."""
    server.fail("upload", -1)
    done = cli("train", "logger=wandb", "logger.patience=5", "name=net", *tiny)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs/net").iterdir()
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert (folder / "score.json").is_file()
    said = re.search(r"the results are not on the server .* davis-exp submit (\S+)", done.stdout)
    assert said
    server.faults.clear()
    done = cli("submit", said[1], "--phase", "test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(server.artifact("tester/davis_exp/test-result-tester")) == files(folder / "results")
