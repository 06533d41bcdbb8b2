"""A job's run on the server: what it holds, how it ends, whether there is a server to hold it."""

import signal

import numpy as np
import pytest
from omegaconf import OmegaConf

from davis_exp.data.artifact import has_key
from davis_exp.launch import job as launch_job
from davis_exp.launch import status
from davis_exp.tracking import client
from davis_exp.tracking.images import log_image
from davis_exp.tracking.session import current, recording
from davis_exp.tracking.wandb import wandb_logger
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput, OverBudget


def test_a_run_holds_the_config_the_cost_the_metrics_and_the_score(server, job, compose):
    overrides = ("logger.group=g", "logger.tags=[a,b]", "logger.project=p", "seed=3")
    job(*overrides)
    run = server.run
    assert (run.entity, run.project, run.name, run.state) == ("tester", "p", "runs/job0", "finished")
    assert run.groups == {"jobType": "train", "groupName": "g", "tags": ["a", "b"]}
    composed = OmegaConf.to_container(compose("logger=wandb", *overrides), resolve=True)
    assert run.values["cfg"] == composed | {
        "flow": None,
        "teacher": None,
    }  # which are empty, and would be missing
    ours = run.values["davis_exp"]
    assert (ours["revision"], ours["seed"], ours["digest"]) == ("abc", 3, "d1")
    losses = {row["trainer/global_step"]: row["train/loss"] for row in run.history if "train/loss" in row}
    assert losses == {0: 0.5, 7: 0.25}
    expected = {"nparams": 4, "nflops": 24, "segmentation_metric": 0.75, "mean_iou": 0.75, "davis2016/J": 0.5}
    assert run.summary.items() >= expected.items()
    assert not server.unknown


def test_results_become_an_artifact_that_holds_what_they_name(server, job):
    folder = job("name=net", "logger.aliases=[mine]")
    artifact = server.artifact("tester/davis_exp/net-result:mine")
    assert (artifact.type, artifact.aliases) == ("result", {"latest", "mine", "config-cccccccccccc"})
    assert artifact.metadata == {"model": "net", "config_digest": "c" * 64, "nparams": 4, "nflops": 24}
    assert sorted(artifact.contents) == ["metadata.json", "outputs/00000.png", "paths.json"]
    assert artifact.content("outputs/00000.png") == (folder / "results/outputs/00000.png").read_bytes()
    assert any(row.get("nparams") == 4 for row in server.run.history)
    assert [a.collection for a in server.committed()] == ["net-result"]  # no checkpoint: not asked for


def test_the_best_checkpoint_becomes_an_artifact_when_asked(server, job):
    job("name=net", "logger.checkpoints=true")
    artifact = server.artifact("tester/davis_exp/net:best")
    assert artifact.type == "trained-model"
    assert artifact.content("final_model") == b"weights"


@pytest.mark.parametrize(
    ("command", "job_type", "result"),
    [("test", "run-val", "net-result"), ("test", "run-test", "test-result-tester")],
)
def test_job_types_and_names_are_the_contests(server, job, command, job_type, result):
    wanted = [f"logger.job_type={job_type}"] if job_type == "run-test" else []
    job("name=net", *wanted, command=command)
    assert server.run.groups["jobType"] == job_type
    assert server.artifact(f"tester/davis_exp/{result}").type == "result"


def test_two_jobs_in_one_process_are_two_runs_and_the_failed_one_says_so(server, job):
    def fails(folder, logger):
        logger.log_metrics({"train/loss": 9.0}, step=1)
        raise RuntimeError("out of\nmemory")

    with pytest.raises(RuntimeError):
        job(does=fails)
    assert current() is None
    job()
    failed, finished = server.runs.values()
    assert (failed.state, failed.exitcode, failed.summary["error"]) == ("failed", 1, "out of memory")
    assert (finished.state, finished.exitcode) == ("finished", 0)
    assert "train/loss" in failed.summary
    assert failed.summary["train/loss"] == 9.0
    assert finished.summary["train/loss"] == 0.25


def test_two_trainings_in_one_process_are_two_runs(server, compose, tiny, tmp_path, monkeypatch):
    """By Lightning itself, as a launcher runs two jobs of a sweep in one process."""
    from davis_exp.training.task import SegmentationTask

    cfg = compose("logger=wandb", *tiny)
    step = SegmentationTask.training_step

    def fails(self, batch, batch_idx):
        raise RuntimeError("boom")

    for name, training_step in (("good", step), ("bad", fails), ("better", step)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(SegmentationTask, "training_step", training_step)
        launch_job.execute("train", "davis_exp.commands.train", cfg, tmp_path / name, [])
    runs = {run.name.rpartition("/")[2]: run for run in server.runs.values()}
    assert {name: run.state for name, run in runs.items()} == {
        "good": "finished",
        "bad": "failed",
        "better": "finished",
    }
    assert "boom" in runs["bad"].summary["error"]
    assert [sum("val/J" in row for row in run.history) for run in runs.values()] == [1, 0, 1]


def test_a_test_job_hands_in_its_results_as_the_models(server, compose, tiny, tmp_path):
    for name, command, config, overrides in (
        ("run", "train", "train", ["name=net", *tiny]),
        ("again", "test", "test", [f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", *tiny[:7]]),
    ):
        (tmp_path / name).mkdir()
        cfg = compose("logger=wandb", *overrides, config=config)
        assert launch_job.execute(command, f"davis_exp.commands.{command}", cfg, tmp_path / name, []) == 0
    trained, tested = server.runs.values()
    assert (trained.groups["jobType"], tested.groups["jobType"]) == ("train", "run-val")
    assert tested.summary["segmentation_metric"] == trained.summary["segmentation_metric"]
    assert {artifact.collection for artifact in server.committed()} == {"net-result"}


def test_wandb_can_be_switched_off(server, job, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with caplog.at_level("INFO"):
        job()
    assert not server.requests
    assert "W&B" not in caplog.text


LIGHTNINGS = SystemExit(1)  # what it makes of Ctrl-C
LIGHTNINGS.__context__ = KeyboardInterrupt()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"),
        (LIGHTNINGS, 130, "KeyboardInterrupt"),
        (BadInput("no"), 2, "no"),
    ],
)
def test_however_a_job_ends_the_run_ends_with_its_exit_code(server, job, error, code, said):
    def stops(folder, logger):
        _ = logger.experiment
        raise error

    with pytest.raises(type(error)):
        job(does=stops)
    assert (server.run.complete, server.run.exitcode) == (True, code)
    assert server.run.summary["error"] == said


@pytest.mark.parametrize(
    ("cause", "code", "said"),
    [
        (RuntimeError("out of\nmemory"), 1, "out of memory"),
        (OverBudget("over by 3", "table", 53), 0, "over by 3"),
    ],
)
@pytest.mark.parametrize("felt", [KeyboardInterrupt(), RuntimeError("connection closed by peer")])
def test_of_several_processes_the_run_says_what_went_wrong_first(
    server, job, monkeypatch, cause, code, said, felt
):
    monkeypatch.setattr(distributed, "cause", lambda error: cause if error is felt else error)

    def ends(folder, logger):
        _ = logger.experiment
        raise felt

    with pytest.raises(type(felt)):
        job(does=ends)
    assert (server.run.complete, server.run.exitcode) == (True, code)
    assert server.run.summary["error"] == said


def test_a_job_that_is_refused_before_it_logs_leaves_no_run(server, job):
    def refused(folder, logger):
        raise BadInput("data.root: no such folder")

    with pytest.raises(BadInput):
        job(does=refused)
    assert not server.runs


def test_under_an_agent_the_run_is_marked_over_budget(server, job, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "given")

    def over(folder, logger):
        raise OverBudget("over budget by 3", "table", 53)

    with pytest.raises(OverBudget):
        job(does=over)
    assert (server.run.id, server.run.state) == ("given", "finished")
    assert (server.run.summary["state"], server.run.summary["nparams"]) == ("over_budget", 53)
    assert server.run.groups["tags"] == ["over_budget"]


def test_under_an_agent_a_stop_ends_the_run(server, job, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    with pytest.raises(KeyboardInterrupt):
        job(does=lambda folder, logger: signal.raise_signal(signal.SIGTERM))
    assert (server.run.complete, server.run.exitcode) == (True, 130)


def test_a_resumed_job_goes_on_with_its_run(server, compose, tmp_path):
    for step in (1, 2):
        with recording(compose("logger=wandb"), tmp_path, "train", status.exit_code):
            wandb_logger(save_dir=str(tmp_path)).log_metrics({"loss": float(step)}, step=step)
    assert [row["loss"] for row in server.run.history if "loss" in row] == [1.0, 2.0]


def test_a_setting_that_is_none_is_refused(server, job):
    with pytest.raises(BadInput, match=r"logger\.projekt: .*did you mean"):
        job("+logger.projekt=x")


def test_pictures_reach_the_run(server, job, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 6), "red").save(tmp_path / "preview.png")

    def shows(folder, logger):
        log_image([object(), logger], "preview/swan", tmp_path / "preview.png", 3, "frame, truth, prediction")
        log_image([logger], "preview/bus", np.zeros((6, 8, 3), np.uint8), 4)

    job(does=shows)
    rows = {key: row for row in server.run.history for key in row if key.startswith("preview")}
    assert [rows[f"preview/{name}"]["trainer/global_step"] for name in ("swan", "bus")] == [3, 4]
    shown = rows["preview/swan"]["preview/swan"]
    assert (shown["_type"], shown["width"], shown["height"]) == ("image-file", 8, 6)
    assert shown["caption"] == "frame, truth, prediction"
    assert server.run.files[shown["path"]] == (tmp_path / "preview.png").read_bytes()


@pytest.mark.parametrize("where", [None, "environment", "netrc"])
def test_it_is_online_where_there_is_a_key(monkeypatch, tmp_path, where):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if where == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    elif where == "netrc":
        (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'x' * 40}\n")
    assert client.mode("auto") == ("online" if where else "offline")


def test_the_environment_wins(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert client.mode("online") == "offline"


def test_a_broken_netrc_is_no_key(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (tmp_path / "netrc").write_text("nonsense here")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_key()
