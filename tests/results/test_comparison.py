"""Paired comparison of two scores."""

import json

import numpy as np
import pytest

from davis_exp.cli import main
from davis_exp.metrics.protocols import summary
from davis_exp.results.comparison import compare
from davis_exp.utils.errors import BadInput


def scored(values, f=None, iou=None):
    """A score with these J by sequence and frame."""
    return summary(
        {
            name: (
                [f"{name}/{i:05d}" for i in range(len(own))],
                {"iou": (iou or values)[name], "J": own, "F": (f or values)[name]},
            )
            for name, own in values.items()
        }
    )


def clips(number, shift, frames=6):
    rng = np.random.default_rng(7)
    return {f"clip{k}": list(rng.random(frames) / 2 + shift(k)) for k in range(number)}


def test_difference_is_the_mean_over_sequences_of_kept_frames():
    a = {"x": [0.0, 0.5, 0.7, 1.0], "y": [1.0, 0.2, 0.0]}
    b = {"x": [1.0, 0.6, 0.6, 0.0], "y": [0.0, 0.8, 1.0]}
    found = compare(scored(a), scored(b))
    assert found.sequences["x"] == pytest.approx((0.6, 0.6, 0.0))
    assert found.sequences["y"] == pytest.approx((0.2, 0.8, 0.6))
    assert found.difference == pytest.approx(0.3)
    assert found.better == pytest.approx(2 / 3)
    assert found.decided_by == ["y"]
    every = compare(scored(a), scored(b), protocol="all_frames")
    assert every.difference == pytest.approx(((1.0 + 0.1 - 0.1 - 1.0) / 4 + (-1.0 + 0.6 + 1.0) / 3) / 2)


def test_the_contest_weighs_frames_and_leaves_out_empty_ones():
    a = {"x": [0.0, 0.5], "y": [0.5, None, 0.5, 0.5]}
    b = {"x": [1.0, 0.5], "y": [0.7, 0.0, None, 0.7]}
    full = {name: [0.0] * len(own) for name, own in a.items()}
    found = compare(scored(full, iou=a), scored(full, iou=b), protocol="contest")
    assert found.measure == "IoU"
    assert found.difference == pytest.approx((1.0 + 0.0 + 0.2 + 0.2) / 4)


def test_j_and_f_together():
    a, b = {"x": [0.2] * 3}, {"x": [0.4] * 3}
    found = compare(scored(a, f={"x": [0.6] * 3}), scored(b, f={"x": [0.8] * 3}), measure="J&F")
    assert found.sequences["x"] == pytest.approx((0.4, 0.6, 0.2))


def test_interval_is_the_bootstraps():
    a, b = clips(8, lambda k: 0.0), clips(8, lambda k: 0.02 * (k - 3))
    found = compare(scored(a), scored(b), protocol="all_frames")
    differences = np.array([0.02 * (k - 3) for k in range(8)])
    assert found.difference == pytest.approx(differences.mean())
    rng = np.random.default_rng(123)  # another seed: the interval is a property of the data
    means = [rng.choice(differences, 8).mean() for _ in range(20_000)]
    assert found.interval == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.002)
    assert not found.distinguishable
    assert found == compare(scored(a), scored(b), protocol="all_frames")  # and the same each time


def test_sentences():
    base = clips(6, lambda k: 0.0)
    ahead = compare(scored(base), scored(clips(6, lambda k: 0.05 + 0.001 * k)))
    assert ahead.sentence("A", "B").startswith("B is ahead of A by 5.2 ± 0.1 J on 6 clips")
    behind = compare(scored(base), scored(clips(6, lambda k: -0.05)))
    assert behind.sentence("A", "B") == "A is ahead of B by 5.0 ± 0.0 J on 6 clips"
    unclear = compare(scored(base), scored(clips(6, lambda k: 0.05 if k % 2 else -0.04)))
    # of six draws from two values, 1 to 5 are of either kind in 97 % of cases: (5 × -0.04 + 0.05) / 6 … 0.035
    assert (
        unclear.sentence("A", "B")
        == "B is ahead by 0.5 ± 3.0 J, but the two are not distinguishable on 6 clips"
    )
    few = compare(scored(clips(2, lambda k: 0.0)), scored(clips(2, lambda k: 0.3)))
    assert "not distinguishable on 2 clips (it takes 5 or more to tell)" in few.sentence("A", "B")
    assert "level" in compare(scored(base), scored(base)).sentence("A", "B")


def test_what_cannot_be_paired():
    one, other = scored({"x": [0.1] * 4}), scored({"y": [0.1] * 4})
    with pytest.raises(BadInput, match="no frame in common"):
        compare(one, other)
    with pytest.raises(BadInput, match="sequence x has other frames"):
        compare(one, scored({"x": [0.1] * 5}))
    old = scored({"x": [0.1] * 4})
    del old["sequences"]["x"]["raw"]
    with pytest.raises(BadInput, match="no values by frame"):
        compare(one, old)


def test_command(tmp_path, capsys):
    for name, shift in (("a", 0.2), ("b", 0.3), ("c", 0.1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "score.json").write_text(
            json.dumps(scored(clips(6, lambda k, shift=shift: shift)))
        )
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert main(["compare", a, f"{b}/score.json", c, "--json", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    assert "b is ahead of a by 10.0" in out
    assert "a is ahead of c by 10.0" in out
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["others"]["b"]["difference"] == pytest.approx(0.1)
    assert main(["compare", a]) == 2
    assert main(["compare", a, a]) == 2
    assert main(["compare", a, str(tmp_path)]) == 2
    assert "no score.json at" in capsys.readouterr().err
