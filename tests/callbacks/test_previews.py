"""Contact sheets of held-out clips, and of nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from davis_exp import build, ranks
from davis_exp.callbacks.previews import WIDTH, Previews
from davis_exp.data.sequences import Sequence
from davis_exp.errors import BadInput
from davis_exp.inference import Inference


class Clip(Sequence):
    """A bright square on dark ground; it counts how often its frames are asked for."""

    labelled = True
    size = (40, 64)
    key = "clip"

    def __init__(self, name, length):
        self.name, self.index, self.asked = name, tuple(range(length)), set()
        self.frame_ids = tuple(f"{name}/{i:05d}" for i in self.index)

    def mask(self, i):
        mask = np.zeros(self.size, np.uint8)
        mask[10:30, 10 + i : 30 + i] = 1
        return mask

    def frame(self, i):
        self.asked.add(i)
        return np.repeat(self.mask(i)[..., None] * np.uint8(200), 3, axis=2)


class Bright(torch.nn.Module):
    """Calls what is bright foreground."""

    context, needs_motion = (0, 0), False

    def forward(self, frames, motion=None, state=None):
        return SimpleNamespace(logits=90 * (frames[:, :, :1] - 0.4)), None


class Shown:
    """A logger that shows pictures, to those who know it by W&B's name."""

    def __init__(self):
        self.pictures = []

    @property
    def experiment(self):
        return self

    def add_image(self, name, pixels, step, dataformats):
        self.pictures.append((name, pixels.shape, step))


TensorBoardLogger = type("TensorBoardLogger", (Shown,), {})


@pytest.fixture
def parts(tmp_path):
    """A trainer in mid-validation, with two clips held out, and its task."""
    held, tested = [Clip("held", 20), Clip("short", 3)], [Clip("tested", 20)]
    trainer = SimpleNamespace(
        current_epoch=3,
        global_step=40,
        sanity_checking=False,
        default_root_dir=str(tmp_path),
        loggers=[TensorBoardLogger()],
        datamodule=SimpleNamespace(val_sequences=held, test_sequences=tested),
    )
    task = SimpleNamespace(model=Bright(), inference=Inference(), device="cpu", motion=None)
    return trainer, task


def sheets(tmp_path):
    return sorted(path.name for path in tmp_path.glob("previews/*"))


def test_a_sheet_has_frame_truth_and_prediction_of_every_clip(parts, tmp_path):
    trainer, task = parts
    Previews(every_epochs=2, frame=4).on_validation_epoch_end(trainer, task)
    assert sheets(tmp_path) == ["step-000040.png"]
    sheet = np.asarray(Image.open(tmp_path / "previews/step-000040.png"))
    assert sheet.shape == (2 * 200, 3 * WIDTH, 3)
    assert trainer.loggers[0].pictures == [("previews", sheet.shape, 40)]
    frame, truth, prediction = (sheet[:200, k * WIDTH : (k + 1) * WIDTH].astype(int) for k in range(3))
    assert abs(frame[100, 5 * 22] - 200).max() < 3
    assert truth[100, 5 * 22, 0] - truth[100, 5 * 22, 1] > 30  # tinted
    assert abs(prediction[100, 5 * 22] - 200).max() < 3  # nothing wrong, so not coloured


def test_only_the_hold_out_is_looked_at_and_only_as_far_as_needed(parts):
    trainer, task = parts
    Previews(every_epochs=1, frame=4, clips=1).on_validation_epoch_end(trainer, task)
    first, second = trainer.datamodule.val_sequences
    assert 4 in first.asked
    assert max(first.asked) < 19  # not the whole clip
    assert not second.asked
    assert not trainer.datamodule.test_sequences[0].asked


@pytest.mark.parametrize(
    ("epoch", "every", "sanity", "drawn"),
    [
        (3, 4, False, True),
        (3, 3, False, False),
        (2, 3, False, True),
        (3, 0, False, False),
        (3, 1, True, False),
    ],
)
def test_when_a_sheet_is_due(parts, tmp_path, epoch, every, sanity, drawn):
    trainer, task = parts
    trainer.current_epoch, trainer.sanity_checking = epoch, sanity
    Previews(every_epochs=every).on_validation_epoch_end(trainer, task)
    assert bool(sheets(tmp_path)) == drawn


def test_the_first_rank_alone_draws(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "here", lambda: ranks.Place(rank=1, world=2))
    Previews(every_epochs=1).on_validation_epoch_end(*parts)
    assert sheets(tmp_path) == []


@pytest.mark.parametrize("setting", [{"every_epochs": -1}, {"clips": 0}, {"frame": -1}])
def test_settings_that_cannot_be(setting):
    with pytest.raises(BadInput, match=f"callbacks.previews.{next(iter(setting))}"):
        Previews(**setting)


def test_a_training_leaves_sheets(compose, tmp_path):
    import pytorch_lightning as pl

    cfg = compose(
        *("encoder=pixel", "decoder=pixel", "data=generated", "data.train=4", "data.test=1", "data.length=6"),
        *("data.holdout=1", "data.batch_size=2", "data.workers=0", "trainer.max_epochs=2", "logger=none"),
        *(
            "callbacks=ema",
            "callbacks.previews.every_epochs=1",
            "trainer.max_steps=-1",
            "data.clips_per_epoch=2",
        ),
    )
    pl.seed_everything(0, verbose=False)
    data = build.build_data(cfg)
    data.setup("fit")
    task = build.build_task(cfg, build.build_model(cfg))
    trainer = build.build_trainer(cfg, tmp_path, build.build_callbacks(cfg))
    trainer.fit(task, datamodule=data)
    assert sheets(tmp_path) == ["step-000001.png", "step-000002.png"]
