"""Contact sheets of held-out clips, and of nothing else."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from davis_exp.data.sequences import VideoSequence
from davis_exp.experiment import build
from davis_exp.experiment.trainer import build_trainer
from davis_exp.inference import Inference
from davis_exp.training.callbacks.previews import BAND, GROUND, WIDTH, Previews
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput


class Clip(VideoSequence):
    """A bright square on dark ground; it counts how often its frames are asked for."""

    labelled = True
    size = (40, 64)
    key = "clip"

    def __init__(self, name, length, size=size):
        self.size = size
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


def tile(sheet, column):
    return sheet[:, column * WIDTH : (column + 1) * WIDTH]


def written(sheet, column, height):
    """Where there is text in a row's band: whether each column of pixels has any."""
    return (tile(sheet, column)[:height] != GROUND).any(axis=(0, 2))


def draw(parts, tmp_path, *clips):
    trainer, task = parts
    trainer.datamodule.val_sequences = list(clips)
    Previews(every_epochs=1, frame=0).on_validation_epoch_end(trainer, task)
    return np.asarray(Image.open(tmp_path / "previews/step-000040.png"))


SIZES = [(48, 64), (480, 854), (854, 480), (33, 400), (32, 32)]


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_written_on_a_picture_whatever_its_size(parts, tmp_path, size):
    clip = Clip("a_clip_with_quite_a_long_name/of_which_the_end_counts_00017", 2, size)
    sheet = draw(parts, tmp_path, clip)
    scale = WIDTH / max(size)
    height, width = (round(side * scale) for side in size)
    assert sheet.shape == (BAND + height, 3 * WIDTH, 3)
    shown = cv2.resize(clip.frame(0), (width, height), interpolation=cv2.INTER_AREA)
    left = (WIDTH - width) // 2
    np.testing.assert_array_equal(tile(sheet, 0)[BAND:, left : left + width], shown)
    assert (tile(sheet, 0)[BAND:, :left] == GROUND).all()


def test_a_long_name_leaves_the_score_and_the_margins_free(parts, tmp_path):
    short, long = (draw(parts, tmp_path, Clip(name, 2, (48, 64))) for name in ("a", "a" + "_very" * 99))
    for sheet in (short, long):
        for column in range(3):
            text = written(sheet, column, BAND)
            assert text.any()
            assert not text[:4].any()
            assert not text[-4:].any()
            assert not (tile(sheet, column)[BAND - 1] != GROUND).any()  # nor do letters hang into the picture
    assert written(long, 0, BAND).sum() > 2 * written(short, 0, BAND).sum()
    # What was predicted and its score, with a wide gap between, are the same for both.
    np.testing.assert_array_equal(tile(long, 2), tile(short, 2))
    places = np.flatnonzero(written(long, 2, BAND))
    assert places[0] < 20
    assert places[-1] > WIDTH - 20
    assert np.diff(places).max() > 100


def test_the_ends_of_a_name_that_is_shortened_are_kept(parts, tmp_path):
    names = [f"{start}{'_middle' * 20}{end}" for start, end in (("a", "0"), ("b", "0"), ("a", "1"))]
    sheets = [draw(parts, tmp_path, Clip(name, 2, (48, 64))) for name in names]
    bands = {tile(sheet, 0)[:BAND].tobytes() for sheet in sheets}
    assert len(bands) == 3


def test_clips_of_several_sizes_share_a_sheet(parts, tmp_path):
    sheet = draw(parts, tmp_path, Clip("wide", 2, (40, 64)), Clip("tall", 2, (64, 40)))
    assert sheet.shape == (BAND + 200 + BAND + 320, 3 * WIDTH, 3)


def test_a_sheet_has_frame_truth_and_prediction_of_every_clip(parts, tmp_path):
    trainer, task = parts
    Previews(every_epochs=2, frame=4).on_validation_epoch_end(trainer, task)
    assert sheets(tmp_path) == ["step-000040.png"]
    sheet = np.asarray(Image.open(tmp_path / "previews/step-000040.png"))
    assert sheet.shape == (2 * (BAND + 200), 3 * WIDTH, 3)
    assert trainer.loggers[0].pictures == [("previews", sheet.shape, 40)]
    frame, truth, prediction = (tile(sheet, k)[BAND : BAND + 200].astype(int) for k in range(3))
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
    monkeypatch.setattr(distributed, "is_main", lambda: False)
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
    data = build.build_data(cfg, build.build_motion(cfg))
    data.setup("fit")
    task = build.build_task(cfg, build.build_model(cfg), build.build_motion(cfg))
    trainer = build_trainer(cfg, tmp_path, [*build.build_callbacks(cfg).values()])
    trainer.fit(task, datamodule=data)
    assert sheets(tmp_path) == ["step-000001.png", "step-000002.png"]
