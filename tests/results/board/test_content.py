"""What the page is drawn from."""

import json

import numpy as np
import pytest

from davis_exp.launch import status
from davis_exp.results.board import content as module
from davis_exp.results.board.content import best_first, content, worth
from davis_exp.results.board.entry import Runs
from davis_exp.runs import confidence


def entries(root):
    *_, last = Runs([root], status.current).look()
    return last


def column(made, key):
    own = next(c for c in made["columns"] if c["key"] == key)
    return [own["levels"][v] for v in own["values"]] if own["kind"] == "text" else own["values"]


def test_columns_are_what_differs_and_swept_keys_are_shown(make_run, tmp_path):
    make_run("s/0", encoder="mit_b1", lr=0.01)
    make_run("s/1", lr=0.001, state="failed", error="<script>alert(1)</script>")
    made = content(entries(tmp_path / "runs"), lambda entry: entry.name)
    assert made["runs"] == ["s/0", "s/1"]
    assert made["groups"] == {"levels": ["s"], "codes": [0, 0]}
    assert column(made, "encoder") == ["mit_b1", "resnet18"]
    assert column(made, "optimizer.lr") == [0.01, 0.001]
    assert column(made, "state") == ["finished", "failed"]
    assert column(made, "J")[1] is None
    keys = [c["key"] for c in made["columns"]]
    assert "trainer.max_epochs" not in keys  # the same in both
    assert next(c for c in made["columns"] if c["key"] == "optimizer.lr")["shown"]
    assert made["errors"] == {"1": "<script>alert(1)</script>"}
    json.dumps(made, allow_nan=False)


def test_clips_are_ordered_by_their_mean_and_tell_the_worst_frames(make_run, tmp_path):
    make_run("s/0")
    make_run("s/1", lr=0.01)
    runs = entries(tmp_path / "runs")
    clips = content(runs, str)["clips"]
    means = [np.mean([run.clips[clip["name"]].values.mean() for run in runs]) for clip in clips]
    assert means == sorted(means)
    for clip in clips:
        both = np.mean([run.clips[clip["name"]].values for run in runs], axis=0)
        assert clip["frames"][0] == runs[0].clips[clip["name"]].frames[int(both.argmin())]
        for run, j, worst, lowest in zip(runs, clip["J"], clip["worst"], clip["lowest"], strict=True):
            own = run.clips[clip["name"]]
            assert j == round(1000 * own.mean)
            assert worst == own.frames[int(own.values.argmin())]
            assert lowest == round(1000 * float(own.values.min()))


def test_curves_are_thinned_to_what_a_page_can_hold(make_runs, monkeypatch):
    monkeypatch.setattr(module, "POINTS", 400)
    made = content(entries(make_runs(20)), str)
    assert sum(len(points) // 2 for curves in made["curves"].values() for points in curves.values()) <= 400
    assert next(iter(made["curves"])) == "val/J"


def test_the_best_are_first(make_runs):
    runs = best_first(entries(make_runs(60)))
    values = [run.record["objective"] for run in runs]
    assert values[-1] is None
    assert values[:-1] == sorted(values[:-1], reverse=True)


def test_runs_without_truth_are_told_apart_by_their_confidence(make_run, tmp_path):
    folders = [make_run(f"s/{i}", state="failed") for i in range(3)]
    for folder, values in zip(folders[:2], ([0.5, 0.7], [0.9, 0.7]), strict=True):
        confidence.write(folder, {f"dog/{i:05d}": value for i, value in enumerate(values)})
    runs = entries(tmp_path / "runs")
    assert column(content(runs, str), "confidence") == [pytest.approx(0.6), pytest.approx(0.8), None]
    assert [run.name for run in best_first(runs)] == ["s/1", "s/0", "s/2"]
    shown = {c["key"]: c["shown"] for c in content(runs, str)["columns"]}
    assert (shown["confidence"], shown["contest"]) == (True, False)
    (folders[0] / "confidence.json").write_text('{"dog/00000": 7}')
    assert "is no confidence of" in entries(tmp_path / "runs")[0].problem


def test_worth_is_of_a_group_alone(make_runs):
    pytest.importorskip("sklearn")
    runs = entries(make_runs(150))
    assert worth(runs)["runs"] == 147
    assert worth(runs, "sweep1")["runs"] == 49
