"""What the board reads of runs, whoever made them."""

import json
import os

import pytest

from davis_exp.launch import status
from davis_exp.results.board import entry
from davis_exp.results.board.entry import Runs
from davis_exp.runs import found


def look(*roots):
    runs = Runs(roots, status.current)
    *_, last = runs.look()
    return runs, {e.name: e for e in last}


def test_a_run_is_read_whole(make_run, tmp_path):
    make_run("sweep/3", encoder="mit_b1", lr=0.002, temporal="shift")
    _, runs = look(tmp_path / "runs")
    run = runs["sweep/3"]
    assert run.group == "sweep"
    assert run.record["state"] == "finished"
    assert not run.problem
    assert run.settings["encoder"] == "mit_b1"
    assert run.settings["optimizer.lr"] == 0.002
    assert "encoder._target_" not in run.settings
    assert "optimizer.lr" in run.swept
    assert run.curves["val/J"][-1][0] == 380
    assert len(run.curves["train/loss"]) == 40
    assert list(run.clips) == ["blackswan", "dog", "car-shadow", "drift-straight"]
    kept = json.loads((run.folder / "score.json").read_text())
    values = kept["sequences"]["dog"]["raw"]["J"]
    clip = run.clips["dog"]
    assert clip.mean == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert clip.worst == values.index(min(values))
    assert run.scores["contest"] == kept["contest"]["mean_iou"]


def test_only_what_has_changed_is_read_again(make_run, tmp_path, monkeypatch):
    folders = [make_run(f"sweep/{i}") for i in range(3)]
    runs, before = look(tmp_path / "runs")
    read = []
    monkeypatch.setattr(entry, "_score", lambda folder: read.append(folder) or {})
    assert {e.name: e for e in list(runs.look())[-1]} == before
    assert not read
    status.update(folders[1], objective=0.25)
    *_, last = runs.look()
    assert read == [folders[1]]
    assert last[1].record["objective"] == 0.25
    assert last[0] is before["sweep/0"]
    for file in folders[2].rglob("*"):
        if file.is_file():
            file.unlink()
    *_, last = runs.look()
    assert [e.name for e in last] == ["sweep/0", "sweep/1"]


def test_a_run_whose_process_is_gone_is_noticed_though_no_file_changes(make_run, tmp_path):
    folder = make_run("one", state="running")
    status.lock(folder)
    runs, before = look(tmp_path / "runs")
    assert before["one"].record["state"] == "running"
    status.unlock(folder)
    *_, last = runs.look()
    assert last[0].record["state"] == "interrupted"


def test_links_are_not_followed_and_runs_not_looked_into(make_run, tmp_path):
    folder = make_run("sweep/0")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/status.json").write_text("{}")
    (tmp_path / "runs/loop").symlink_to(tmp_path / "runs")
    os.mkfifo(tmp_path / "runs/pipe")
    assert list(found.below(tmp_path / "runs")) == [folder]
    assert list(found.below(folder)) == [folder]


def test_the_number_of_runs_is_bounded(make_run, tmp_path, monkeypatch):
    for i in range(5):
        make_run(f"{i}")
    monkeypatch.setattr(found, "MOST", 3)
    assert len(list(found.below(tmp_path / "runs"))) == 3


def test_two_roots_name_their_runs_apart(make_run, tmp_path):
    make_run("a/0")
    make_run("b/0")
    _, runs = look(tmp_path / "runs/a", tmp_path / "runs/b")
    assert list(runs) == ["a/0", "b/0"]


HOSTILE = {
    "status.json": ["[]", '{"state": "<b>"}', '{"objective": NaN}', "{" * 100_000],
    "score.json": ['{"contest": {}}', "[1e999]", "x" * 1000],
    "metrics.csv": ["step,a\n1,1e400\n2,nan\n", 'step,"' + "a" * 200_000],
    ".hydra/config.yaml": [
        "a: &a [1]\nb: [*a, *a]",
        "- 1",
        "!!python/object:os.system x",
        "a: .nan\nb: .inf",
    ],
    ".hydra/hydra.yaml": ["[1]", "hydra: 3", "hydra: {runtime: {choices: [1]}}"],
}


@pytest.mark.parametrize(
    ("file", "text"), [(file, text) for file, texts in HOSTILE.items() for text in texts]
)
def test_what_cannot_be_read_is_said_and_the_rest_is_there(make_run, tmp_path, file, text):
    (make_run("bad") / file).write_text(text)
    make_run("good")
    _, runs = look(tmp_path / "runs")
    assert runs["good"].clips
    assert not runs["good"].problem
    bad = runs["bad"]
    harmless = text.startswith(("step,a\n", "a: .nan"))
    assert harmless or bad.problem or bad.record["state"] == "unreadable"
    assert all(len(str(value)) <= entry.LONGEST + 1 for value in bad.settings.values())


def test_files_that_are_none_do_not_hold_it_up(make_run, tmp_path):
    folder = make_run("bad")
    for name in ("metrics.csv", "score.json"):
        (folder / name).unlink()
    os.mkfifo(folder / "metrics.csv")
    (folder / "score.json").symlink_to("/dev/zero")
    _, runs = look(tmp_path / "runs")
    assert "named pipe" in runs["bad"].problem
    assert "device" in runs["bad"].problem


def test_what_is_not_ours_to_read_is_said(make_run, tmp_path):
    make_run("one")

    def refused(folder):
        raise PermissionError(13, "Permission denied", "status.json")

    *_, last = Runs([tmp_path / "runs"], refused).look()
    assert last[0].record["state"] == "unreadable"
    assert "Permission denied" in last[0].record["error"]


def test_a_report_is_a_file_of_the_run_itself(make_run, tmp_path):
    folder = make_run("one")
    outside = tmp_path / "secret.html"
    outside.write_text("secret")
    (folder / "report.html").symlink_to(outside)
    assert entry.inside(folder / "report.html", folder) is None
    (folder / "report.html").unlink()
    (folder / "report.html").write_text("mine")
    assert entry.inside(folder / "report.html", folder) == folder / "report.html"
