"""The main job on small generated clips: everything that a run leaves behind, and that it can be had again."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from davis_exp.commands import test as test_command
from davis_exp.commands import train
from davis_exp.experiment import build, checkpoints
from davis_exp.training.task import SegmentationTask
from davis_exp.utils.errors import BadInput, OverBudget

TINY = (
    "data=generated",
    "encoder=pixel",
    "decoder=pixel",
    "data.train=4",
    "data.test=2",
    "data.length=6",
    "data.height=32",
    "data.width=48",
    "data.size=[32,48]",
    "data.batch_size=4",
    "data.workers=0",
    "data.clips_per_epoch=8",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "optimizer.lr=0.1",
)


def metrics(folder):
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def trained(cfg, folder):
    """Train in `folder`, which the command line would have made."""
    folder.mkdir(exist_ok=True)
    assert train.run(cfg, folder) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and its config."""
    from hydra import compose, initialize_config_dir

    from davis_exp.config import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*TINY, "callbacks=ema"])
    folder = tmp_path_factory.mktemp("run")
    trained(cfg, folder)
    return cfg, folder


def test_results_are_a_valid_submission(finished):
    _, folder = finished
    paths = json.loads((folder / "results/paths.json").read_text())["output"]
    assert list(paths) == [str(i) for i in range(12)]
    for path in paths.values():
        with Image.open(folder / "results" / path) as image:
            assert (image.mode, image.size) == ("L", (48, 32))
    metadata = json.loads((folder / "results/metadata.json").read_text())
    assert metadata["nparams"] == 4
    assert metadata["nflops"] > 0
    assert len(metadata["frames"]) == 12


def test_the_score_is_that_of_the_written_masks(finished):
    cfg, folder = finished
    data = build.build_data(cfg, build.build_motion(cfg))
    data.setup("test")
    index, ious = 0, []
    for sequence in data.test_sequences:
        for i in range(len(sequence)):
            with Image.open(folder / "results" / f"outputs/{index:05d}.png") as image:
                prediction = np.asarray(image) >= 128
            truth = sequence.mask(i) > 0
            if (prediction | truth).any():
                ious.append((prediction & truth).sum() / (prediction | truth).sum())
            index += 1
    score = json.loads((folder / "score.json").read_text())
    assert score["contest"]["mean_iou"] == pytest.approx(np.mean(ious))
    assert set(score["baselines"]) == {"everything", "centre ellipse"}


def test_checkpoints_are_self_contained_and_the_average_is_what_was_tested(finished):
    cfg, folder = finished
    for name in ("best", "last"):
        checkpoint = checkpoints.read(folder / f"checkpoints/{name}.ckpt")
        assert checkpoint["config"] == build.plain(cfg)
        assert "current_model_state" in checkpoint
        current, average = (
            torch.cat([v.flatten().float() for v in checkpoint[key].values()])
            for key in ("current_model_state", "state_dict")
        )
        assert not torch.equal(current, average)


def test_test_reproduces_the_runs_score_from_the_checkpoint_alone(finished, compose, tmp_path):
    _, folder = finished
    overrides = [o for o in TINY if o.startswith("data") and "clips" not in o]
    cfg = compose(*overrides, f"checkpoint={folder}/checkpoints/best.ckpt", config="test")
    assert test_command.run(cfg, tmp_path) == 0
    again, first = (json.loads((f / "score.json").read_text()) for f in (tmp_path, folder))
    assert again["contest"] == first["contest"]
    assert again["davis2016"] == first["davis2016"]


def again(compose, run, folder, *overrides):
    """`davis-exp test` of a run's best checkpoint in `folder`; returns the frames of its results."""
    folder.mkdir(exist_ok=True)
    cfg = compose(*overrides, f"checkpoint={run}/checkpoints/best.ckpt", config="test")
    assert test_command.run(cfg, folder) == 0
    return json.loads((folder / "results/metadata.json").read_text())["frames"]


DATA = [o for o in TINY if o.startswith("data") and "clips" not in o]


def test_the_hold_out_of_test_is_that_of_the_training(compose, tmp_path):
    settings = [*TINY, "data.train=8", "data.holdout=2", "data.holdout_seed=5", "trainer.max_epochs=1"]
    trained(compose(*settings), tmp_path / "run")
    held = set(checkpoints.read(tmp_path / "run/checkpoints/best.ckpt")["clips"]["held_out"])
    # The hold-out that these settings of `test` would draw for themselves is another.
    frames = again(
        compose, tmp_path / "run", tmp_path / "test", *DATA, "data.train=8", "data.test_split=holdout"
    )
    data = build.build_data(compose(*settings))
    names = {s.name for s in data.source.sequences("train") if s.key in held}
    assert {frame.split("/")[0] for frame in frames} == names
    assert len(names) == 2
    record, score = (json.loads((tmp_path / f"test/{name}.json").read_text()) for name in ("status", "score"))
    assert record["test_split"] == "holdout"  # and may be chosen by:
    assert record["objective"] == score["all_frames"]["J"]["mean"]


def test_nothing_is_chosen_by_a_test_on_test_sequences(compose, finished, tmp_path):
    again(compose, finished[1], tmp_path / "test", *DATA)
    assert "objective" not in json.loads((tmp_path / "test/status.json").read_text())


def test_a_data_set_that_was_not_trained_on_is_tested_whole(compose, finished, tmp_path, caplog):
    from davis_exp.data.export import write_contest

    data = build.build_data(finished[0])
    write_contest(data.source.sequences("test"), tmp_path / "contest")
    frames = again(compose, finished[1], tmp_path / "test", "data=contest", f"data.root={tmp_path}/contest")
    assert len(frames) == 12
    assert "trained on" not in caplog.text


def test_testing_on_training_clips_is_said(compose, finished, tmp_path, caplog):
    seen = [o.replace("data.test=2", "data.test=4") for o in DATA]
    cfg = compose(*seen, f"checkpoint={finished[1]}/checkpoints/best.ckpt", config="test")
    data = build.build_data(cfg, build.build_motion(cfg))
    data.source.sequences = lambda stage, sequences=data.source.sequences: sequences("train")
    from davis_exp.data.split import TrainedOn

    clips = checkpoints.read(finished[1] / "checkpoints/best.ckpt")["clips"]
    data.trained_on = TrainedOn(frozenset(clips["trained"]), frozenset(clips["held_out"]))
    data.setup("test")
    assert len(data.test_sequences) == 4
    assert f"{len(clips['trained'])} of 4 test clips were trained on" in caplog.text


def test_losses_are_logged_and_finite(finished):
    rows = metrics(finished[1])
    losses = [float(row["train/loss"]) for row in rows if "train/loss" in row]
    assert len(losses) == 4  # 2 epochs of 8 clips in batches of 4
    assert np.isfinite(losses).all()
    assert [int(row["step"]) for row in rows if "val/J" in row] == [1, 3]


def test_one_seed_gives_equal_runs_and_another_does_not(compose, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trained(compose(*TINY, f"seed={seed}"), tmp_path / name)
    a, b, c = (metrics(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c


def test_a_resumed_run_equals_an_uninterrupted_one(compose, tmp_path):
    # A constant rate: what is left of a decaying one depends on how long the run was going to be.
    settings = (*TINY, "scheduler=constant", "callbacks=ema", "temporal=none")
    trained(compose(*settings, "trainer.max_epochs=3"), tmp_path / "whole")
    trained(compose(*settings, "trainer.max_epochs=2"), tmp_path / "parts")
    trained(compose(*settings, "trainer.max_epochs=3", f"resume={tmp_path}/parts"), tmp_path / "parts")
    whole, parts = (
        torch.load(tmp_path / f / "checkpoints/last.ckpt", weights_only=True) for f in ("whole", "parts")
    )
    assert whole["global_step"] == parts["global_step"] == 6
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())
    scores = [json.loads((tmp_path / f / "score.json").read_text())["contest"] for f in ("whole", "parts")]
    assert scores[0] == scores[1]


def test_a_finished_run_can_be_extended(compose, tmp_path):
    trained(compose(*TINY), tmp_path)
    trained(compose(*TINY, "trainer.max_epochs=4", f"resume={tmp_path}"), tmp_path)
    last = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    schedule = last["lr_schedulers"][0]
    assert (last["global_step"], schedule["last_epoch"]) == (8, 8)
    before = [float(row["train/loss"]) for row in metrics(tmp_path) if "train/loss" in row]
    assert len(set(before[4:])) > 1
    half = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)
    assert half["lr_schedulers"][0]["base_lrs"] == schedule["base_lrs"]


def test_changed_settings_are_refused_or_really_applied(compose, tmp_path, caplog):
    caplog.set_level("INFO")
    trained(compose(*TINY, "scheduler=constant"), tmp_path)
    again = (*TINY, "scheduler=constant", "trainer.max_epochs=3", f"resume={tmp_path}")
    changed = (*again, "optimizer.lr=0.5", "optimizer.weight_decay=0.125")
    before = (tmp_path / "checkpoints/last.ckpt").read_bytes()
    with pytest.raises(BadInput, match=r"optimizer.lr 0.1 → 0.5; optimizer.weight_decay 0.01 → 0.125; leave"):
        train.run(compose(*changed), tmp_path)
    assert (tmp_path / "checkpoints/last.ckpt").read_bytes() == before
    with pytest.raises(BadInput, match=r"optimizer._target_ .*AdamW → .*SGD.*cannot change"):
        train.run(compose(*again, "optimizer=sgd"), tmp_path)

    trained(compose(*changed, "resume_allow=[optimizer.lr,optimizer.weight_decay]"), tmp_path)
    last = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    groups = {group["name"]: group for group in last["optimizer_states"][0]["param_groups"]}
    assert groups["rest"]["lr"] == 0.5
    assert {group["weight_decay"] for group in groups.values()} == {0.125}
    assert last["lr_schedulers"][0]["base_lrs"][0] == 0.5
    assert last["config"]["optimizer"]["lr"] == 0.5
    assert last["optimizer_states"][0]["state"][0]["step"] == 6  # its momenta are the run's
    assert "goes on with optimizer.lr 0.1 → 0.5" in caplog.text


def test_an_extended_schedule_is_that_of_its_new_length(compose, tmp_path, monkeypatch):
    trained(compose(*TINY), tmp_path)
    rates = []

    def note(task, batch, index):
        rates.append(task.trainer.optimizers[0].param_groups[0]["lr"])

    monkeypatch.setattr(SegmentationTask, "on_train_batch_start", note, raising=False)
    trained(compose(*TINY, "trainer.max_epochs=4", f"resume={tmp_path}"), tmp_path)
    assert rates == pytest.approx([0.1 * (1 - step / 8) ** 0.9 for step in range(4, 8)])


def test_nothing_is_started_over_where_something_was_trained(compose, tmp_path, caplog):
    trained(compose(*TINY), tmp_path)
    best, last = (tmp_path / f"checkpoints/{name}.ckpt" for name in ("best", "last"))
    content = best.read_bytes()
    last.write_bytes(last.read_bytes()[:3000])  # as a power cut may leave it on some file systems
    trained(compose(*TINY, "trainer.max_epochs=3", f"resume={tmp_path}"), tmp_path)
    assert "there is no whole last.ckpt: going on from step" in caplog.text
    assert torch.load(last, weights_only=True)["global_step"] == 6
    last.unlink()
    best.write_bytes(content[:3000])
    with pytest.raises(BadInput, match="starting over would replace what is there"):
        train.run(compose(*TINY, "trainer.max_epochs=3", f"resume={tmp_path}"), tmp_path)
    assert best.read_bytes() == content[:3000]


def test_a_moved_run_keeps_its_best(compose, tmp_path):
    trained(compose(*TINY), tmp_path / "here")
    best = (tmp_path / "here/checkpoints/best.ckpt").read_bytes()
    (tmp_path / "here").rename(tmp_path / "there")
    # Nothing is learnt any more: what comes is no better.
    cfg = compose(*TINY, "trainer.max_epochs=3", f"resume={tmp_path}/there")
    trained(cfg, tmp_path / "there")
    assert (tmp_path / "there/checkpoints/last.ckpt").is_file()
    state = torch.load(tmp_path / "there/checkpoints/last.ckpt", weights_only=True)["callbacks"]
    scores = [s["best_model_score"] for key, s in state.items() if "val/J" in key]
    assert scores[0] is not None
    assert best


def test_another_models_weights_are_not_resumed_from(compose, tmp_path):
    trained(compose(*TINY), tmp_path)
    cfg = compose(*TINY, "encoder=resnet18", "decoder=linknet", f"resume={tmp_path}")
    with pytest.raises(BadInput, match="its encoder, decoder cannot change"):
        train.run(cfg, tmp_path)


def test_without_validation_the_last_weights_are_kept_and_tested(compose, tmp_path, caplog):
    trained(compose(*TINY, "trainer.check_val_every_n_epoch=5"), tmp_path)
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt"}
    assert "last weights are tested" in caplog.text


def test_a_training_that_ends_in_mid_epoch_is_validated_and_kept(compose, tmp_path):
    train.run(compose(*TINY, "trainer.max_steps=1"), tmp_path)
    assert any("val/J" in row for row in metrics(tmp_path))
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_over_budget_stops_before_anything_is_written(compose, tmp_path):
    with pytest.raises(OverBudget, match="over budget by"):
        train.run(compose(*TINY, "budget.limit=3"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_nan_loss_ends_the_training_and_says_so(compose, tmp_path):
    with pytest.raises(BadInput, match=r"loss is (nan|inf) at step.*optimizer\.lr"):
        train.run(
            compose(*TINY, "optimizer.lr=1e38", "trainer.gradient_clip_val=null", "optimizer=sgd"), tmp_path
        )
    kept = torch.load(tmp_path / "diverged.pt", weights_only=True)
    assert not np.isfinite(kept["loss"])
    assert len(kept["addresses"]) == len(kept["frames"]) == len(kept["masks"])
    for last in (tmp_path / "checkpoints").glob("*.ckpt"):
        state = torch.load(last, weights_only=True)["state_dict"]
        assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.batch_size=0", r"data\.batch_size"),
        ("+decoder.widht=3", r"decoder\.widht"),
        ("trainer.max_steps=ten", r"trainer\.max_steps.*int.*'ten'"),
        ("task.encoder_lr_factor=fast", r"task\.encoder_lr_factor"),
        ("inference.stride=9", r"inference\.stride"),
        ("optimizer.lr=-1", r"optimizer.*learning rate"),
        ("optimizer.lr=fast", r"optimizer.*str"),
        ("data.size=32", r"data\.size"),
        ("seed=-1", r"seed"),
        ("trainer.precision=bf16-true", r"trainer\.precision"),
        ("callbacks.best.monitor=val/F", r"callbacks\.best\.monitor"),
        ("+trainer.fast_dev_run=true", r"trainer\.fast_dev_run"),
        ("trainer.devices=2", r"trainer.*devices"),
        ("task.encoder_lr_factor=-3", r"task\.encoder_lr_factor"),
        ("+decoder.inputs=[99]", r"decoder\.inputs: PixelDecoder gets 'inputs' from the program"),
        ("loss._target_=davis_exp.models.losses.Nope", r"loss\._target_"),
    ],
)
def test_settings_that_cannot_work_name_their_key(compose, tmp_path, override, message):
    with pytest.raises(BadInput, match=message):
        train.run(compose(*TINY, override), tmp_path)


ENCODER = """
from torch import nn


class Mine(nn.Module):
    channels, strides, temporal_strides = (5,), (1,), (1,)
    context, needs_motion, mean, std = (0, 0), False, 0, 1

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.channels = (width,)
        self.conv = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, frames, motion=None):
        return [self.conv(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])]
"""


def test_an_encoder_from_outside_the_package_trains(tmp_path):
    (tmp_path / "my_conf/encoder").mkdir(parents=True)
    (tmp_path / "my_conf/encoder/mine.yaml").write_text("# mine\n_target_: my_encoder.Mine\nwidth: 7\n")
    (tmp_path / "my_encoder.py").write_text(ENCODER)
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    overrides = [o for o in TINY if not o.startswith("encoder")]
    command = [sys.executable, "-m", "davis_exp", "train", *overrides, "encoder=mine", "name=outside"]
    command.append(f"hydra.searchpath=[file://{tmp_path}/my_conf]")
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs/outside").iterdir()
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["nparams"]) == (
        "finished",
        7 * 28 + 8,
    )  # the encoder, and a 1×1 convolution
    assert json.loads((run / "score.json").read_text())["contest"]["frames"] > 0


def test_logits_that_do_not_fit_the_masks_are_refused(compose, tmp_path, monkeypatch):
    from davis_exp.models import segmenter

    monkeypatch.setattr(segmenter, "resize_and_crop", lambda logits, size, padded: logits[..., :-1])
    with pytest.raises(BadInput, match=r"^loss: logits of shape \(4, .*\) for masks of \(4, "):
        train.run(compose(*TINY), tmp_path)


def test_a_model_that_finds_nothing_is_scored_not_refused(compose, tmp_path, monkeypatch):
    from davis_exp.results.artifact import ResultsWriter

    add = ResultsWriter.add
    monkeypatch.setattr(
        ResultsWriter, "add", lambda self, i, mask, frame: add(self, i, mask // 255 + 1, frame)
    )
    trained(compose(*TINY), tmp_path)  # nowhere more confident than 2 of 255
    monkeypatch.setattr(
        ResultsWriter, "add", lambda self, i, mask, frame: add(self, i, np.ones_like(mask), frame)
    )
    trained(compose(*TINY), tmp_path)  # nowhere more confident than 1
    assert json.loads((tmp_path / "score.json").read_text())["contest"]["mean_iou"] == 0
