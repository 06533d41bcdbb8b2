"""A training says why it ended where its length alone does not."""

import json
import re
from datetime import timedelta

import pytest

from davis_exp.cli import main

TINY = (
    *("encoder=pixel", "decoder=pixel", "data=generated", "data.train=3", "data.test=1", "data.length=3"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.workers=0", "data.batch_size=2"),
    *("data.clips_per_epoch=4", "data.holdout=1", "trainer=cpu"),
)


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Trains in run/; gives what was said."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides, code=0):
        changed = {override.partition("=")[0] for override in overrides}
        own = [override for override in TINY if override.partition("=")[0] not in changed]
        assert main(["train", *own, "hydra.run.dir=run", *overrides]) == code
        return capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["trainer.max_epochs=0"], "nothing was trained: trainer.max_epochs=0"),
        (["trainer.max_steps=0"], "nothing was trained: trainer.max_steps=0"),
        (
            ["trainer.max_epochs=1", "trainer.max_steps=9"],
            "trained for 2 of trainer.max_steps=9 steps: trainer.max_epochs=1 came first",
        ),
    ],
)
def test_why_it_ended(train, overrides, line):
    said = train(*overrides).out.splitlines()
    assert line in said
    assert ("nothing was validated: the last weights are tested" in said) == line.startswith("nothing")


@pytest.mark.parametrize(
    "overrides", [["trainer.max_epochs=1"], ["trainer.max_epochs=2", "trainer.max_steps=3"]]
)
def test_what_was_asked_for_needs_no_word(train, overrides):
    assert not re.search("trained for|nothing was trained", train(*overrides).out)


def test_time_that_is_over(train, tmp_path):
    said = train("trainer.max_epochs=100000", "trainer.max_steps=-1", "+trainer.max_time={seconds: 2}").out
    (line,) = [line for line in said.splitlines() if line.startswith("trained for")]
    found = re.fullmatch(r"trained for (\d+) steps: trainer\.max_time was over after (\d+:\d\d:\d\d)", line)
    assert found
    assert int(found[1]) > 0
    assert found[2] >= str(timedelta(seconds=2))
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "finished"


def test_everything_is_trained_on(train, tmp_path):
    said = train("data.holdout=0", "trainer.max_epochs=2", "callbacks=ema").out
    assert "data.holdout=0: trained on all 3 clips; the last checkpoint is tested" in said
    assert "nothing was validated" not in said
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["last.ckpt"]
    metadata = json.loads((tmp_path / "run/results/metadata.json").read_text())
    assert metadata["checkpoint_digest"]
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert (status["state"], status["objective"]) == ("finished", None)
    data = [override for override in TINY if override.startswith("data") and "clips_per" not in override]
    tested = ["test", "checkpoint=run/checkpoints/last.ckpt", *data, "hydra.run.dir=again"]
    assert main(tested) == 0
    again, score = (json.loads((tmp_path / name / "score.json").read_text()) for name in ("again", "run"))
    assert again["contest"] == score["contest"]


def test_nothing_held_out_is_nothing_to_choose_by(train):
    said = train("data.holdout=0", "data.test_split=holdout", "trainer.max_epochs=1", code=2)
    assert "data.test_split=holdout: data.holdout=0 holds no clip out" in said.err
