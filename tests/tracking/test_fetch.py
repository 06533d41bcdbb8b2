"""Data sets from artifacts, by the real client."""

import json
import logging
import re

import pytest
import wandb
from wandb_server.server import drop

from davis_exp.data.artifact import fetch
from davis_exp.data.sources import ContestSource
from davis_exp.tracking import artifacts
from davis_exp.utils.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets that the client leaves behind
NAME = "wandb/davis/davis2016-train:contest"


@pytest.fixture
def published(server, contest):
    """The server, with the training data of `contest` on it as the contest's own artifact."""
    publish(contest / "train", "contest")
    server.requests.clear()
    return server


def publish(folder, *aliases):
    with wandb.init(entity="wandb", project="davis") as run:
        artifact = wandb.Artifact("davis2016-train", type="dataset")
        artifact.add_dir(str(folder))
        run.log_artifact(artifact, aliases=list(aliases)).wait(30)


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_artifact_is_downloaded_once(published, contest, tmp_path):
    folder = fetch(NAME, tmp_path / "kept")
    assert folder == tmp_path / "kept/wandb/davis/davis2016-train/v0"
    assert files(folder) == files(contest / "train")
    downloads = published.requests["download"]
    assert fetch(NAME, tmp_path / "kept") == folder
    assert published.requests["download"] == downloads


def test_a_source_reads_an_artifact_as_it_reads_its_folder(published, contest, tmp_path, monkeypatch):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path / "cache"))
    fetched = ContestSource("nowhere", artifact=NAME).sequences("train")
    local = ContestSource(contest / "train").sequences("train")
    assert [s.frame_ids for s in fetched] == [s.frame_ids for s in local]
    assert (fetched[1].frame(2) == local[1].frame(2)).all()
    same = ContestSource("nowhere", artifact=str(contest / "train")).sequences("train")
    assert [s.key for s in same] == [s.key for s in local]


def test_each_stage_has_an_artifact_of_its_own(contest):
    train, test = str(contest / "train"), str(contest / "test")
    names = [s.name for s in ContestSource("nowhere", artifact=train, test_artifact=test).sequences("test")]
    assert names == [s.name for s in ContestSource(test).sequences("test")]
    assert ContestSource("nowhere", artifact=train).root("test") == contest / "train"
    assert ContestSource("nowhere", test, artifact=train).root("test") == contest / "test"


def test_an_interrupted_download_goes_on_with_what_it_has(published, contest, tmp_path):
    fetch(NAME, tmp_path / "other")
    each = published.requests["download"]  # every file and the manifest
    published.requests.clear()
    published.fail_after("download", each // 2, 403)
    with pytest.raises(BadInput, match="run the same command to continue"):
        fetch(NAME, tmp_path / "kept")
    assert not (tmp_path / "kept/wandb/davis/davis2016-train/v0").exists()
    published.faults.clear()
    published.requests.clear()
    assert files(fetch(NAME, tmp_path / "kept")) == files(contest / "train")
    assert published.requests["download"] < each


def test_a_connection_that_drops_is_tried_again(published, contest, tmp_path):
    published.fail_after("download", 3, drop, times=1)
    assert files(fetch(NAME, tmp_path / "kept")) == files(contest / "train")


def test_wrong_content_is_not_taken(published, contest, tmp_path):
    md5 = next(iter(published.blobs))
    right = published.blobs[md5]
    published.blobs[md5] = b"something else"
    with pytest.raises(BadInput, match="wrong digest"):
        fetch(NAME, tmp_path / "kept")
    published.blobs[md5] = right
    assert files(fetch(NAME, tmp_path / "kept")) == files(contest / "train")


def test_a_new_version_is_seen_and_an_old_one_needs_no_server(published, contest, tmp_path):
    old = fetch(NAME, tmp_path)
    publish(contest / "test", "contest")
    new = fetch(NAME, tmp_path)
    assert (old.name, new.name) == ("v0", "v1")
    assert files(new) == files(contest / "test")
    published.requests.clear()
    assert fetch("wandb/davis/davis2016-train:v0", tmp_path) == old
    assert not published.requests


def test_without_a_server_an_alias_is_what_it_was(published, tmp_path, caplog):
    folder = fetch(NAME, tmp_path)
    published.fail("ArtifactMembershipByName", 404)
    with caplog.at_level(logging.WARNING):
        assert fetch(NAME, tmp_path) == folder
    assert "using v0" in caplog.text


def test_what_is_not_there_is_refused_in_a_line(published, tmp_path):
    with pytest.raises(BadInput, match="wandb/davis/nothing:contest cannot be had"):
        fetch("wandb/davis/nothing:contest", tmp_path)


@pytest.mark.parametrize(
    "typo",
    [
        "../somewhere",
        "../data/davis_typo",
        "../data/davis:v0",
        "./data/davis:v0",
        "data/davis/val",
        "a/b/..:v0",
    ],
)
def test_a_mistyped_folder_is_no_artifact(published, tmp_path, typo):
    keep = tmp_path / "cache" / "artifacts"
    with pytest.raises(BadInput, match=f"no folder {re.escape(typo)}, and no artifact's name"):
        fetch(typo, keep)
    assert not (tmp_path / "cache").exists()
    assert not published.requests


def test_a_split_names_files_relative_to_its_artifact(contest):
    sequences = ContestSource(contest / "train").sequences("train")
    table = artifacts.split_table(contest / "train", sequences[1:2])
    whole = json.loads((contest / "train" / "paths.json").read_text())
    indices = [str(i) for i in sequences[1].index]
    assert table == {column: {i: whole[column][i] for i in indices} for column in ("raw", "annotation")}
    with pytest.raises(BadInput, match="no file below"):
        artifacts.split_table(contest / "test", sequences)
