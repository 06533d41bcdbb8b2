"""Results handed in as the contest asks, by the real client."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from wandb_server.server import drop

from davis_exp import cli
from davis_exp.data.sources import open_source
from davis_exp.results.check import defects
from davis_exp.tracking import submission
from davis_exp.tracking.submission import Target
from davis_exp.utils.errors import BadInput

TARGET = Target("contest", patience=30)


@pytest.fixture
def sequences(contest):
    return open_source(contest).sequences("test")


def prepared(results, sequences, phase="validation"):
    return submission.prepare(results, phase, sequences, limit=50_000_000)


def judged(results, sequences):
    """The judge's formula, written anew: round(x/255), intersection over union, -1 where both are empty."""
    ious = []
    for sequence in sequences:
        for i, index in enumerate(sequence.index):
            with Image.open(results / f"outputs/{index:05d}.png") as image:
                out = np.round(np.asarray(image) / 255).astype(bool)
            target = sequence.mask(i).astype(bool)
            union = (out | target).sum()
            ious.append((out & target).sum() / union if union else -1.0)
    return ious


def test_validation_is_a_result_run_and_a_scoring_run_whose_path_is_what_to_paste(server, results, sequences):
    path = submission.send(prepared(results, sequences), TARGET)
    val, scoring = server.runs.values()
    assert path == scoring.path
    assert [run.groups["jobType"] for run in (val, scoring)] == ["run-val", "val-eval"]
    assert [run.state for run in (val, scoring)] == ["finished", "finished"]
    ious = judged(results, sequences)
    mean = np.mean([iou for iou in ious if iou >= 0])
    assert scoring.summary["segmentation_metric"] == pytest.approx(mean)
    assert scoring.summary["mean_iou"] == pytest.approx(mean)
    assert (val.summary["nparams"], scoring.summary["nparams"]) == (4, 4)
    result = server.artifact("tester/contest/net-result")
    assert (result.type, result.metadata["nflops"]) == ("result", 24)
    assert server.used == [(scoring.id, "net-result:v0")]

    sent = server.artifact("tester/contest/net-result-submission")
    assert sent.type == "submission"
    assert sent.metadata["mean_iou"] == pytest.approx(mean)
    table = json.loads(sent.content("val-eval-data.table.json"))
    assert table["columns"] == ["out", "target", "iou_score"]
    assert [row[2] for row in table["data"]] == pytest.approx(ious)
    assert len(table["data"]) == 8
    shown = {path.rpartition("/")[2] for path in sent.contents if path.endswith(".png")}
    assert {row[0]["path"].rpartition("/")[2] for row in table["data"]} <= shown
    assert "val-eval-data" in scoring.summary


def test_the_test_phase_is_one_run_without_a_score(server, results):
    path = submission.send(prepared(results, None, "test"), TARGET)
    assert path == server.run.path
    assert server.run.groups["jobType"] == "run-test"
    assert server.run.summary["nparams"] == 4
    assert "mean_iou" not in server.run.summary
    assert server.artifact("tester/contest/test-result-tester").metadata["nparams"] == 4
    assert len(server.committed()) == 1


def test_a_zip_is_handed_in_as_its_folder_is(server, results, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", results)
    submission.send(prepared(tmp_path / archive, None, "test"), TARGET)
    (artifact,) = server.committed()
    files = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    assert set(artifact.contents) == files


def test_handing_in_the_same_again_makes_no_new_version(server, results):
    for _ in range(2):
        submission.send(prepared(results, None, "test"), TARGET)
    assert [artifact.version for artifact in server.committed()] == [0]


def break_index(results):
    (results / "outputs" / "00003.png").unlink()


def break_size(results):
    Image.new("L", (1, 48), 255).save(results / "outputs" / "00003.png")


def break_cost(results):
    metadata = json.loads((results / "metadata.json").read_text())
    del metadata["nparams"]
    (results / "metadata.json").write_text(json.dumps(metadata))


def leave_stale(results):
    Image.new("L", (48, 32)).save(results / "outputs" / "00099.png")


@pytest.mark.parametrize("damage", [break_index, break_size, break_cost, leave_stale])
@pytest.mark.parametrize("phase", ["validation", "test"])
def test_what_check_refuses_is_refused(results, sequences, damage, phase):
    damage(results)
    (said, *_) = defects(results, sequences)
    with pytest.raises(BadInput) as refused:
        prepared(results, sequences, phase)
    assert said in str(refused.value)


def test_bare_masks_are_no_submission(contest, sequences, results, tmp_path):
    for sequence in sequences:
        (tmp_path / "bare" / sequence.name).mkdir(parents=True)
        for i, index in enumerate(sequence.index):
            name = sequence.frame_ids[i].rpartition("/")[2]
            shutil.copy(
                results / f"outputs/{index:05d}.png", tmp_path / "bare" / sequence.name / f"{name}.png"
            )
    assert not list(defects(tmp_path / "bare", sequences))
    with pytest.raises(BadInput, match="no submission"):
        prepared(tmp_path / "bare", sequences)


def test_validation_without_the_truth_is_refused(results):
    with pytest.raises(BadInput, match="--data"):
        prepared(results, None)


def test_offline_nothing_is_sent(server, results, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(BadInput, match="wandb login"):
        submission.send(prepared(results, None, "test"), TARGET)
    assert not server.runs


@pytest.mark.parametrize(
    "fault",
    [
        ("UpsertBucket", 403),
        ("upload", 403),
        ("CommitArtifact", 500),
        pytest.param(("upload", drop), marks=pytest.mark.slow),
    ],
)
def test_what_does_not_arrive_is_said_in_one_line_and_no_run_has_finished(server, results, capsys, fault):
    server.fail(*fault)
    code = cli.main(["submit", str(results), "--phase", "test", "--patience", "3"])
    assert code == 1
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("davis-exp: not handed in: ")] == said[-1:]
    assert not server.committed()
    assert not any(run.state == "finished" for run in server.runs.values())


def test_the_command_hands_in_and_prints_the_path(server, contest, results, capsys):
    code = cli.main(["submit", str(results), "--data", str(contest), "--project", "mine", "--alias", "final"])
    scoring = list(server.runs.values())[-1]
    assert code == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f" {scoring.path}")
    assert "final" in server.artifact("tester/mine/net-result").aliases
    assert "final" in server.artifact("tester/mine/net-result-submission").aliases
