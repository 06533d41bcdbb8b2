import io
import logging
import sys
from types import SimpleNamespace

import torch

from davis_exp.training.callbacks.progress import PlainProgress


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


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_one_line_tells_it_all(caplog, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    now = [100.0]
    monkeypatch.setattr(
        "davis_exp.training.callbacks.progress.time", SimpleNamespace(monotonic=lambda: now[0])
    )
    progress = PlainProgress(every_seconds=10)
    progress.on_train_start(trainer(0), None)
    with caplog.at_level(logging.INFO):
        progress.on_validation_end(trainer(4, **{"val/J": 0.25}), None)
        now[0] += 20
        progress.on_train_batch_end(trainer(5), None, {"loss": torch.tensor(0.5)}, None, 0)
    assert len(caplog.records) == 2
    assert [record.shown for record in caplog.records] == [None, None]  # the log file's alone
    (task,) = progress._line.tasks
    assert task.description == "training, hold-out J 0.2500, epoch 1, loss 0.5000"
    assert (task.completed, task.total) == (5, 40)
    progress.on_exception(None, None, KeyboardInterrupt())
    assert "\x1b[?25h" in sys.stderr.getvalue()  # the cursor is back
    progress.teardown(None, None, "fit")


def test_testing_counts_sequences(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = PlainProgress()
    progress.on_test_start(None, None)
    progress.on_test_batch_end(SimpleNamespace(num_test_batches=[6]), None, None, None, 1)
    (task,) = progress._line.tasks
    assert (task.description, task.completed, task.total) == ("testing", 2, 6)
    progress.teardown(None, None, "test")


def test_no_line_where_there_is_no_terminal():
    progress = PlainProgress()
    progress.on_test_start(None, None)
    progress.on_test_batch_end(SimpleNamespace(num_test_batches=[6]), None, None, None, 1)
    assert progress._line is None
