"""The training side of the task: when the loss is looked at, and what becomes of it."""

import csv
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from davis_exp.experiment import build
from davis_exp.experiment.trainer import build_trainer
from davis_exp.training.callbacks.checkpoint import RunCheckpoint
from davis_exp.training.callbacks.progress import PlainProgress
from davis_exp.training.task import LOSS_CHECK_EVERY, SegmentationTask
from davis_exp.utils.errors import BadInput

OVERRIDES = (
    *("encoder=pixel", "decoder=pixel", "data=generated"),
    *("trainer.max_epochs=1", "+trainer.limit_val_batches=0"),
)
LOOKS = {"item", "__float__", "__bool__", "__int__", "cpu", "tolist", "numpy"}  # each waits for the device


class Watched(torch.Tensor):
    """A tensor that notes, as does what is computed from it, when its value is asked for; the value is a plain one."""

    batch = 0
    looks: list[int] = []  # noqa: RUF012  # emptied by each run

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ not in LOOKS:
            return super().__torch_function__(function, types, args, kwargs)
        cls.looks.append(cls.batch)
        with torch._C.DisableTorchFunctionSubclass():
            value = function(*args, **(kwargs or {}))
        return value.as_subclass(torch.Tensor) if isinstance(value, torch.Tensor) else value


class Scripted(nn.Module):
    """A loss that takes the values of `values`, one batch after the other; each is watched."""

    def __init__(self, values):
        super().__init__()
        self.values, self.count = values, 0

    def forward(self, prediction, masks, frames):
        value = self.values[self.count]
        self.count += 1
        Watched.batch = self.count
        return (0 * prediction.logits.mean() + value).as_subclass(Watched)


class LoggingEachStep(SegmentationTask):
    """The reference: Lightning's own way."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train/loss", loss.as_subclass(torch.Tensor), prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        pass


@pytest.fixture
def train(compose, tmp_path):
    """train(values, …) trains a 4-weight model for as many batches an epoch."""
    runs = []

    def trained(values, *overrides, kind=SegmentationTask):
        cfg = compose(*OVERRIDES, *overrides)
        runs.append(tmp_path / f"{len(runs)}")
        task = build.build_task(cfg, build.build_model(cfg), build.build_motion(cfg))
        task.__class__ = kind
        task.loss = Scripted(values * cfg.trainer.max_epochs)
        Watched.looks.clear()
        batch = {
            "frames": torch.zeros(1, 1, 3, 8, 8, dtype=torch.uint8),
            "masks": torch.zeros(1, 1, 1, 8, 8, dtype=torch.uint8),
        }
        trainer = build_trainer(cfg, runs[-1], [RunCheckpoint("last"), PlainProgress()])
        trainer.fit(task, *(DataLoader([batch] * count, batch_size=None) for count in (len(values), 1)))
        return trainer

    return trained


def logged(trainer):
    with (Path(trainer.default_root_dir) / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("settings", "looked_at"),
    [
        # The first, every tenth, the one that a checkpoint is kept after, the last.
        ((), {1, 10, 20, 24, 25}),
        (("trainer.log_every_n_steps=7",), {1, 7, 10, 14, 20, 21, 24, 25}),
        (("trainer.log_every_n_steps=0",), {1, 10, 20, 24, 25}),
        (("trainer.log_every_n_steps=4", "trainer.accumulate_grad_batches=2"), {1, 8, 10, 16, 20, 24, 25}),
        (("trainer.max_steps=13",), {1, 10, 12, 13}),
    ],
)
def test_between_the_steps_that_are_asked_for_nothing_waits_for_the_loss(train, settings, looked_at):
    train([0.5] * 25, *settings)
    assert LOSS_CHECK_EVERY == 10
    assert set(Watched.looks) == looked_at


@pytest.mark.parametrize("every", [1, 3, 10])
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("limit", [-1, 5])
def test_the_same_is_logged_as_if_every_step_were(train, every, accumulated, limit):
    values = [float(k) for k in range(1, 24)]
    settings = (
        f"trainer.log_every_n_steps={every}",
        f"trainer.accumulate_grad_batches={accumulated}",
        f"trainer.max_steps={limit}",
        "trainer.max_epochs=2",
    )
    expected = logged(train(values, *settings, kind=LoggingEachStep))
    trainer = train(values, *settings)
    assert logged(trainer) == expected
    assert expected
    shown = trainer.progress_bar_metrics["train/loss"]
    assert shown == trainer.callback_metrics["train/loss"] == (23 if limit < 0 else min(5 * accumulated, 23))


@pytest.mark.parametrize(
    ("broken", "settings", "step"),
    [
        (1, (), 1),
        (2, ("trainer.log_every_n_steps=50",), 10),
        (2, ("trainer.log_every_n_steps=3",), 3),
        (22, (), 24),  # seen where a checkpoint was to be kept before the last batch
        (2, ("trainer.accumulate_grad_batches=5",), 2),
    ],
)
def test_a_loss_that_is_not_finite_stays_so_and_is_refused_when_next_looked_at(train, broken, settings, step):
    values = [0.5] * (broken - 1) + [float("nan")] * (26 - broken)
    with pytest.raises(BadInput, match=rf"loss is nan at step {step}: .*lower optimizer\.lr"):
        train(values, *settings)


@pytest.mark.parametrize("stored", [False, True])
def test_frames_without_a_mask_count_for_nothing(compose, stored):
    """The loss, and its gradient, are those of a batch of the other frames alone, whatever stands in their masks."""
    cfg = compose(*OVERRIDES, "decoder=fpn_light", "encoder=efficientnet_lite0", "budget=none")
    task = build.build_task(cfg, build.build_model(cfg).eval())
    made = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 3, 64, 64), generator=made, dtype=torch.uint8)
    masks = torch.randint(0, 2, (2, 3, 1, 64, 64), generator=made, dtype=torch.uint8)
    there = torch.tensor([[True, False, False], [False, True, True]])

    def learned(batch):
        task.zero_grad()
        batch = dict(batch)
        if stored:
            with torch.no_grad():
                batch["features"] = task.model.encode(batch.pop("frames").float() / 255)
        loss = task.training_step(batch, 0)
        loss.backward()
        return loss.detach(), [p.grad.clone() for p in task.model.decoder.parameters() if p.grad is not None]

    loss, gradients = learned({"frames": frames, "masks": masks, "annotated": there})
    noise = torch.where(there[..., None, None, None], masks, 1 - masks)
    again, _ = learned({"frames": frames, "masks": noise, "annotated": there})
    alone, expected = learned({"frames": frames[there][None], "masks": masks[there][None]})
    assert loss == again
    torch.testing.assert_close(loss, alone)
    torch.testing.assert_close(gradients, expected, rtol=1e-3, atol=1e-6)
    whole, _ = learned({"frames": frames, "masks": masks, "annotated": torch.ones_like(there)})
    assert not torch.isclose(whole, loss)
