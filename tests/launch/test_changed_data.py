"""A sweep whose data set has changed since a job had its answer."""

import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from davis_exp.data.sources import open_source
from davis_exp.experiment.experiment import Experiment
from davis_exp.launch import job_folders, status


@pytest.fixture
def answered(tmp_path):
    """A job's folder with an answer of data "one"."""
    folder = tmp_path / "0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").write_text("weights")
    (folder / "score.json").write_text("{}")
    status.update(
        folder, state="finished", job=0, identity="x", data="one" * 8, objective=0.5, attempts=1, seconds=9.0
    )
    return folder


def test_an_answer_of_other_data_is_put_aside_whole(answered):
    place = job_folders.put_aside(answered, lambda: "two")
    assert place == answered / "other-data-oneoneon-0"
    assert (place / "checkpoints/last.ckpt").read_text() == "weights"
    assert (place / "former-score.json").is_file()
    assert not (answered / "checkpoints").exists()
    record = status.read(answered)
    assert (record["state"], record["identity"], record["objective"]) == ("queued", "x", None)
    assert not job_folders.settled(record, None)
    status.update(answered, data="one" * 8)
    assert job_folders.put_aside(answered, lambda: "two") == answered / "other-data-oneoneon-1"


@pytest.mark.parametrize("now", ["one" * 8, None])
def test_the_same_data_and_unknown_ones_leave_it_alone(answered, now):
    assert job_folders.put_aside(answered, lambda: now) is None
    assert status.read(answered)["state"] == "finished"


def test_a_run_of_old_that_has_noted_no_data_is_left_alone(answered):
    status.update(answered, data=None)
    assert job_folders.put_aside(answered, lambda: pytest.fail("not asked")) is None


def write_davis(root, shift=0):
    for clip in ("swan", "bus", "dog"):
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / clip).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            mask = np.zeros((32, 48), np.uint8)
            mask[8:20, 10 + i + shift : 24 + i] = 255
            cv2.imwrite(str(root / f"JPEGImages/480p/{clip}/{i:05d}.jpg"), np.dstack([mask // 2 + 60] * 3))
            cv2.imwrite(str(root / f"Annotations/480p/{clip}/{i:05d}.png"), mask)
    (root / "ImageSets/480p").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/480p/train.txt").write_text("swan\nbus\ndog\n")
    (root / "ImageSets/480p/val.txt").write_text("swan\n")


@pytest.mark.slow
def test_the_same_sweep_trains_again_after_a_mask_was_changed(tmp_path):
    write_davis(tmp_path / "davis")
    command = [
        *(sys.executable, "-m", "davis_exp", "train", "-m", "name=x", "data.root=davis", "data.size=[32,48]"),
        *("encoder=pixel", "decoder=pixel", "data.workers=0", "data.holdout=1", "trainer.max_epochs=1"),
        *("data.clips_per_epoch=4", "data.batch_size=2", "seed=0,1"),
    ]

    def train():
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    train()
    jobs = [status.read(tmp_path / f"multirun/x/{n}") for n in range(2)]
    assert all(job["state"] == "finished" and job["data"] == jobs[0]["data"] for job in jobs)
    assert train().count("finished before") == 2
    (tmp_path / "davis").rename(tmp_path / "moved")  # a copy elsewhere is the same data
    (tmp_path / "davis").symlink_to("moved")
    assert train().count("finished before") == 2
    write_davis(tmp_path / "davis", shift=3)
    said = train()
    assert said.count("the frames or masks have changed since: trained again") == 2
    for n in range(2):
        record = status.read(tmp_path / f"multirun/x/{n}")
        assert record["state"] == "finished"
        assert record["data"] != jobs[0]["data"]
        assert record["attempts"] == 1
        (aside,) = (tmp_path / f"multirun/x/{n}").glob("other-data-*")
        assert (aside / "checkpoints/last.ckpt").is_file()
    assert train().count("finished before") == 2


def test_a_run_that_is_gone_on_with_says_that_its_data_have_changed(tmp_path, caplog):
    write_davis(tmp_path / "davis")
    (tmp_path / "run").mkdir()
    status.update(tmp_path / "run", state="running")

    def noted():
        run = Experiment(OmegaConf.create({}), tmp_path / "run")
        source = open_source(tmp_path / "davis")
        run.data = SimpleNamespace(source=source, loading=SimpleNamespace(test_split="test"))
        run.note_data("train")
        return status.read(tmp_path / "run")["data"]

    first = noted()
    assert noted() == first
    assert not caplog.messages
    write_davis(tmp_path / "davis", shift=2)
    assert noted() != first
    assert caplog.messages == [
        "the frames or masks are not those that this run began with: its scores are of both"
    ]
