"""davis-exp submit: what it shows and refuses without a server."""

import json
import os

import numpy as np
import pytest

from davis_exp import cli
from davis_exp.data.export import write_contest
from davis_exp.data.sources import open_source
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.results.artifact import ResultsWriter


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    source = GeneratedSource(train=1, test=2, length=3, height=32, width=48)
    return write_contest(source.sequences("test"), tmp_path_factory.mktemp("truth") / "val")


@pytest.fixture
def results(truth, tmp_path):
    with ResultsWriter(tmp_path / "results") as writer:
        for sequence in open_source(truth).sequences("test"):
            for i, index in enumerate(sequence.index):
                writer.add(index, sequence.mask(i) * np.uint8(255), sequence.frame_ids[i])
        return writer.close({"model": "my net", "nparams": 1234, "config_digest": "d" * 64})


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    """No key, and no server: nothing may be sent."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


def test_a_dry_run_shows_what_would_be_sent(truth, results, capsys):
    assert cli.main(["submit", str(results), "--data", str(truth), "--dry-run", "--entity", "me"]) == 0
    out = capsys.readouterr().out
    for shown in (
        "to me/davis_exp",
        "run run-val: nparams 1,234",
        "my_net-result (type result; latest, config-dddddddddddd): 6 masks",
        "run val-eval: segmentation_metric 1.0000, mean_iou 1.0000",
        "my_net-result-submission (type submission): table val-eval-data, 6 frames",
    ):
        assert shown in out


def test_a_dry_run_of_the_test_phase_needs_no_truth(results, capsys):
    assert cli.main(["submit", str(results), "--phase", "test", "--dry-run", "--entity", "me"]) == 0
    out = capsys.readouterr().out
    assert "run run-test" in out
    assert "test-result-me" in out
    assert "mean_iou" not in out


@pytest.fixture
def a_run(results, tmp_path, monkeypatch):
    """a_run(data): the folder of a run, started here, that was configured with `data` and has the results."""
    monkeypatch.chdir(tmp_path)

    def made(data):
        (tmp_path / "run/.hydra").mkdir(parents=True)
        results.rename(tmp_path / "run/results")
        (tmp_path / "run/.hydra/config.yaml").write_text(json.dumps({"data": data}))
        hydra = {"hydra": {"runtime": {"cwd": str(tmp_path)}}}
        (tmp_path / "run/.hydra/hydra.yaml").write_text(json.dumps(hydra))
        return tmp_path / "run"

    return made


CONTEST = {"_target_": "davis_exp.data.sources.contest.ContestSource", "size": [32, 48]}


@pytest.mark.parametrize("part", ["", "results"])
def test_a_runs_results_are_scored_on_the_runs_own_data(truth, a_run, capsys, monkeypatch, part):
    run = a_run({**CONTEST, "root": os.path.relpath(truth)})
    monkeypatch.chdir("/")
    assert cli.main(["submit", str(run / part), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"scored on the run's own data ({run})" in out
    assert "segmentation_metric 1.0000" in out


def test_data_that_is_named_goes_before_the_runs_own(truth, a_run, capsys):
    run = a_run({**CONTEST, "root": "nowhere"})
    assert cli.main(["submit", str(run), "--dry-run", "--data", str(truth)]) == 0
    assert "own data" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({**CONTEST, "root": "nowhere"}, "no data set in the contest's layout at nowhere"),
        (
            {"_target_": "subprocess.check_output", "args": "id"},
            "data._target_ is subprocess.check_output, no data",
        ),
        (None, "the validation phase is scored"),
    ],
)
def test_a_run_whose_data_will_not_do_needs_data(a_run, capsys, data, reason):
    assert cli.main(["submit", str(a_run(data)), "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert "give the labelled data set by --data" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data"),
        (["--data", "nobody/nothing/data:v0"], "no W&B key"),
        (["--data", "nobody/nothing/data"], "no data set at nobody/nothing/data"),
        (["--data", "../nothing/data"], "no data set at ../nothing/data"),
        (["--phase", "test"], "cannot hand in offline"),
        (["--phase", "test", "--limit", "1000"], "over the limit"),
    ],
)
def test_refusals_are_one_line(results, capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path / "cache"))
    assert cli.main(["submit", str(results), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
