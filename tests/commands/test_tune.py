"""`davis-exp tune`: curves of real trainings on a few small clips, and nothing left behind."""

import re
import resource

import pytest

from davis_exp.cli import main
from davis_exp.commands.tune import BARS, WIDTH, sparkline

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=3", "data.test=1", "data.length=4"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=2", "data.workers=0"),
    *("data.clips_per_epoch=16", "trainer.max_epochs=1"),
)


def test_a_curve_is_drawn_from_its_lowest_to_its_highest():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == BARS
    assert sparkline([3.0, 3.0]) == BARS[0] * 2
    long = sparkline(range(1000))
    assert len(long) == WIDTH
    assert list(long) == sorted(long)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_learning_rate_is_found_where_the_loss_falls(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    # One batch again and again: what the loss does is then the rate's doing alone.
    same = (
        "data.clips_per_epoch=2",
        "augmentation=none",
        "tune.steps=60",
        "tune.lowest=1e-3",
        "tune.highest=100",
    )
    assert main(["tune", "lr", *TINY, *same]) == 0
    said = capfd.readouterr().out
    found = float(re.search(r"to use it: optimizer\.lr=(\S+)", said)[1])
    assert 1e-3 < found < 100
    assert re.search(rf"  [{BARS}]{{20,}}\n", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_batch_doubles_until_something_ends_it(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert main(["tune", "batch", *TINY, "tune.most=4"]) == 0
    said = capfd.readouterr().out
    assert re.findall(r"^ +(\d+) +[\d.]+  █*$", said, re.MULTILINE) == ["1", "2", "4"]
    assert "largest that fits is 4 (tune.most ends it there)" in said
    assert said.strip().endswith("data.batch_size=4")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ((), "tune what? davis-exp tune lr, or davis-exp tune batch"),
        (("lr", "tune.steps=0"), "tune.steps"),
        (("lr", "tune.steps=2.5"), "tune.steps"),
        (("lr", "tune.lowest=2"), "tune.lowest: must be below"),
        (("batch", "tune.most=many"), "tune.most"),
        (("batch", "tune.first=8", "tune.most=4"), "tune.first"),
        (("lr", "trainer.devices=2"), "trainer.devices"),
        (("rate",), "rate"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_a_line(command, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", *command, *TINY]) == 2
    error = capfd.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
