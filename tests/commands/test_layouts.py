"""Each published layout, from its folders to a score: trained for two steps, tested, scored again by hand."""

import json

import pytest

from davis_exp.cli import main

MODEL = ("encoder=pixel", "decoder=pixel", "trainer=cpu", "callbacks.progress.every_seconds=1000")
LOADING = (
    "data.workers=0",
    "data.size=[32,48]",
    "data.batch_size=2",
    "data.clip_length=3",
    "data.clips_per_epoch=4",
)
SCORED = {  # by layout: the sequences tested, and how many of their frames have a mask
    "davis2017": {"horse": 4},
    "davis2017_each": {"horse_1": 4, "horse_2": 4},
    "youtube_vos": {"1ff": 1},
    "youtube_vos_each": {"1ff_1": 1, "1ff_2": 1},
    "fbms": {"dogs01": 2},
    "segtrack_v2": {"bmx": 4, "frog": 4, "worm": 4},
    "youtube_objects": {"cat_0001_001": 2, "cat_0002_001": 2, "dog_0001_001": 2},
    "pairs": {f"p{i}": 1 for i in range(4)},
}


@pytest.mark.parametrize("name", SCORED)
def test_a_layout_is_trained_on_tested_and_scored(name, layouts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = [f"data={name}", f"data.root={layouts[name]}", "data.holdout=1", "data.test_split=all", *LOADING]
    assert main(["train", *data, *MODEL, "trainer.max_steps=2", "hydra.run.dir=run"]) == 0
    said = capsys.readouterr().out
    score = json.loads((tmp_path / "run/score.json").read_text())
    assert {clip: len(own["frames"]) for clip, own in score["sequences"].items()} == SCORED[name]
    assert ("masks: of" in said) == (name not in ("davis2017", "davis2017_each", "segtrack_v2", "pairs"))
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    assert sum(",train/loss," in row for row in rows) >= 1, rows
    assert main(["score", "run/results", f"{name}:{layouts[name]}", "--json", "again.json"]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["contest"] == score["contest"]
    assert again["sequences"] == score["sequences"]
