"""Servers in trouble: nothing is lost, no job fails, and one line says what to do."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from wandb_server.server import drop

from davis_exp import cli

FAULTS = [("CommitArtifact", 500), ("upload", 403), pytest.param(("upload", drop), marks=pytest.mark.slow)]


def test_errors_that_pass_are_waited_for(server, job):
    for what in ("UpsertBucket", "CommitArtifact", "file_stream"):
        server.fail(what, 500, times=1)
    server.fail("upload", drop, times=2)
    job("name=net")
    assert server.run.state == "finished"
    assert server.artifact("tester/davis_exp/net-result").type == "result"


@pytest.mark.parametrize("fault", FAULTS)
def test_results_that_do_not_arrive_stay_and_one_line_says_how_to_hand_them_in(server, job, caplog, fault):
    server.fail(*fault)
    with caplog.at_level(logging.INFO):
        folder = job("logger.patience=4")
    assert not server.committed()
    (line,) = [r.message for r in caplog.records if "davis-exp submit" in r.message]
    assert f"davis-exp submit {folder / 'results'}" in line
    assert (folder / "results" / "paths.json").is_file()


def test_a_run_that_does_not_arrive_is_told_how_to_be_handed_in(server, job, caplog):
    server.fail("file_stream", 500)
    folder = job("logger.patience=4")
    (line,) = [r.message for r in caplog.records if "wandb sync" in r.message]
    assert str(folder / "wandb" / "run-") in line


@pytest.mark.parametrize("how", ["unreachable", "500", "forbidden"])
def test_without_a_server_the_job_goes_on_offline(server, job, caplog, monkeypatch, how):
    if how == "unreachable":
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    else:
        server.fail("UpsertBucket", 500 if how == "500" else 403)
    with caplog.at_level(logging.INFO):
        folder = job("logger.patience=3")
    assert not server.runs
    waiting, going_on, *_ = (r.message for r in caplog.records if r.name == "davis_exp.tracking.client")
    assert "for about 3 s at most" in waiting
    assert "logger=csv, or WANDB_MODE=offline" in waiting
    assert "going on offline" in going_on
    assert "wandb sync" in caplog.text
    assert f"davis-exp submit {folder / 'results'}" in caplog.text
    assert list((folder / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.slow
def test_a_server_that_goes_away_meanwhile_is_handed_everything_later(server, job, ends, caplog, capsys):
    def goes(folder, logger):
        logger.log_metrics({"train/loss": 0.5}, step=0)
        server.fail("everything", drop)
        logger.log_metrics({"train/loss": 0.125}, step=9)
        ends(folder, logger)

    with caplog.at_level(logging.INFO):
        folder = job("logger.patience=3", does=goes)
    assert server.run.state == "running"
    server.faults.clear()
    sync = re.search(r"wandb sync --include-online (\S+)", caplog.text)
    submit = re.search(r"davis-exp submit (\S+)", caplog.text)
    assert sync
    assert submit
    wandb = str(Path(sys.executable).with_name("wandb"))
    subprocess.run(
        [wandb, "sync", "--include-online", sync[1]],
        env=dict(os.environ),
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert server.run.state == "finished"
    assert [row["train/loss"] for row in server.run.history if "train/loss" in row] == [0.5, 0.125, 0.5, 0.25]
    (folder / "results" / "stale.png").unlink()
    assert cli.main(["submit", submit[1], "--phase", "test"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(list(server.runs.values())[-1].path)
    assert (folder / "results" / "paths.json").is_file()
