import logging
from types import SimpleNamespace

import torch

from davis_exp.callbacks.progress import PlainProgress


def trainer(step, **metrics):
    return SimpleNamespace(
        global_step=step,
        current_epoch=1,
        estimated_stepping_batches=40,
        sanity_checking=False,
        callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
    )


def test_a_line_now_and_then(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = PlainProgress(every_seconds=10)
    progress.on_train_start(trainer(4), None)
    with caplog.at_level(logging.INFO):
        for step in (5, 6, 7, 8):
            now[0] += 4
            progress.on_train_batch_end(trainer(step), None, {"loss": torch.tensor(0.5)}, None, 0)
    # After 12 seconds and 3 steps of this process; a resumed run's earlier steps do not count.
    assert [record.getMessage() for record in caplog.records] == [
        "epoch 1, step 7 of 40: loss 0.5000, 4.00 s a step"
    ]


def test_the_hold_out_is_told(caplog):
    with caplog.at_level(logging.INFO):
        PlainProgress().on_validation_end(trainer(8, **{"val/J": 0.25}), None)
    assert caplog.messages == ["epoch 1, step 8: hold-out J 0.2500"]
