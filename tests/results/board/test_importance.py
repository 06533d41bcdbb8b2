"""Which keys matter."""

import builtins

import numpy as np
import pytest

from davis_exp.results.board.importance import FEWEST, importance


def test_the_key_that_matters_comes_first_and_noise_has_none():
    pytest.importorskip("sklearn")
    draw = np.random.default_rng(1)
    settings = [
        {"lr": float(draw.random()), "encoder": str(draw.choice(["a", "b", "c"])), "seed": i}
        for i in range(90)
    ]
    offsets = {"a": 0.0, "b": 0.05, "c": 0.1}
    scores = [0.3 + 0.5 * s["lr"] + offsets[s["encoder"]] for s in settings]
    found = importance(settings, scores)
    keys = {key: loss for key, loss, _ in found["keys"]}
    assert next(iter(keys)) == "lr"
    assert keys["lr"] > 4 * keys["encoder"] > 0 > keys["seed"] - 0.005
    assert found["explained"] > 0.85
    assert found["runs"] == 90
    # Shuffling x of a sum 0.5·x puts a prediction off by 0.5·E|x - x'| = 0.5/3 on average, for x uniform in [0, 1].
    assert keys["lr"] == pytest.approx(0.5 / 3, rel=0.3)


def test_a_key_that_some_runs_lack_is_no_hindrance():
    pytest.importorskip("sklearn")
    settings = [{"a": i} if i % 2 else {"b": "x"} for i in range(20)]
    found = importance(settings, [i % 2 / 2 for i in range(20)])
    assert found["keys"][0][1] > 0


@pytest.mark.parametrize(
    ("settings", "scores"),
    [
        ([{"a": i} for i in range(FEWEST - 1)], list(range(FEWEST - 1))),
        ([{"a": 1}] * 20, list(range(20))),
        ([{"a": i} for i in range(20)], [0.5] * 20),
        ([], []),
    ],
)
def test_too_little_is_said(settings, scores):
    pytest.importorskip("sklearn")
    assert "finished runs" in importance(settings, scores)["why"]


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "davis_exp[board]" in importance([], [])["why"]
