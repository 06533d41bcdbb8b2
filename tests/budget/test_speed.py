"""The model of a machine's time: what it makes of measurements that are known, and of files that are no measurement."""

import json

import pytest
import torch
from torch import nn

from davis_exp import budget
from davis_exp.budget import speed
from davis_exp.budget.trace import Op
from davis_exp.utils.errors import BadInput, CannotWrite


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path))
    speed.load.cache_clear()
    yield tmp_path
    speed.load.cache_clear()


def op(kind: str, flops: float, size: float) -> Op:
    return Op("layer", kind, kind, int(flops), int(size), 0)


def timed(*sizes: int, beside: float = 1.0) -> speed.Timed:
    """A composition on a machine of 50 GFLOPs, 10 GB/s and 3 µs a call, whose Python takes a share of the time."""
    ops = [op("convolution", n * 1e9, n**2 * 1e6) for n in sizes] + [
        op("elementwise", 0, n * 1e8) for n in sizes
    ]
    seconds = [x.flops / 50e9 + x.bytes / 10e9 + 3e-6 for x in ops]
    return speed.Timed(tuple(ops), tuple(seconds), sum(seconds) * beside)


def test_a_machine_that_is_as_the_model_has_it_is_found_exactly():
    found = speed.fit([timed(1, 5, 20), timed(2, 9), timed(3, 4, 11)])
    assert found.factors["convolution"] == pytest.approx((1 / 50, 1 / 10, 0, 3.0), rel=1e-4)
    assert found.factors["elementwise"][0] == 0
    assert found.error < 1e-6
    unseen = timed(6, 7, 8)
    assert found.seconds(unseen.ops) == pytest.approx(unseen.whole)


def test_what_lies_beside_the_operators_is_counted_in():
    found = speed.fit([timed(1, 5, 20, beside=1.2), timed(2, 9, beside=1.2), timed(3, 4, beside=1.2)])
    assert found.seconds(timed(6).ops) == pytest.approx(1.2 * timed(6).whole)


def test_its_error_is_that_of_compositions_that_were_left_out():
    slow = speed.Timed(timed(2).ops, timed(2).seconds, 2 * timed(2).whole)
    found = speed.fit([timed(1, 3), slow, timed(4, 2), timed(9)])
    assert 0 <= found.error < 0.5
    assert speed.fit([timed(1, 3), slow]).error > 0.4


def test_a_kind_that_was_never_measured_goes_with_one_like_it():
    found = speed.Speed({"elementwise": (0.0, 1.0, 0.0, 0.0), "convolution": (2.0, 0.0, 0.0, 0.0)}, 0.0, "")
    assert found.seconds([op("convolution over time", 1e9, 0)]) == 2
    assert found.seconds([op("grouped over time", 1e9, 5e9)]) == 2
    assert found.seconds([op("pool", 0, 3e9)]) == 3


def test_it_is_kept_for_this_machine(own_cache):
    kept = speed.fit([timed(1, 5), timed(2, 9)])
    speed.save(kept)
    assert speed.path().parent == own_cache / "speed"
    assert speed.load() == kept
    assert torch.__version__ in kept.machine


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "no JSON",
        {"machine": "another"},
        {"format": 2},
        {"error": None},
        {"factors": {"elementwise": [1, 2, 3]}},
        {"factors": {"elementwise": [1, 2, 3, -4]}},
        {"factors": {"norm": [1, 2, 3, 4]}},
        {"factors": [1, 2, 3]},
    ],
    ids=str,
)
def test_what_is_no_measurement_of_it_is_refused(content):
    good = {"format": 1, "machine": speed.machine(), "error": 0.1, "factors": {"elementwise": [1, 2, 3, 4]}}
    speed.path().parent.mkdir()
    speed.path().write_text(json.dumps(good))
    assert speed.load().factors == {"elementwise": (1, 2, 3, 4)}
    speed.load.cache_clear()
    speed.path().write_text(content if isinstance(content, str) else json.dumps(good | content))
    with pytest.raises(BadInput) as refused:
        speed.load()
    assert str(speed.path()) in str(refused.value)


def test_operators_are_timed_and_together_take_about_the_whole():
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3))
    threads = torch.get_num_threads()
    took = speed.timed(model, (torch.rand(1, 3, 160, 160),), rounds=5)
    assert torch.get_num_threads() == threads
    assert set(took.by_layer()) == {"0", "1", "2"}
    assert took.by_layer()["2"] > took.by_layer()["1"] > 0
    assert sum(took.seconds) == pytest.approx(took.whole, rel=0.5)


def test_a_model_that_streams_is_timed_at_its_second_frame(compose):
    from davis_exp.experiment import build

    model = build.build_model(compose("encoder=pixel", "decoder=pixel", "temporal=conv_gru"))
    frames = torch.rand(1, 1, 3, 32, 32)
    took = speed.timed(model, budget.inputs(model, frames), rounds=1)
    cost = budget.measure(model, size=(32, 32))
    assert sum(x.flops for x in took.ops) == cost.flops


def test_a_cache_that_cannot_be_written_to_is_said_in_a_line(own_cache):
    (own_cache / "speed").write_text("in the way")
    with pytest.raises(CannotWrite, match="cannot write"):
        speed.save(speed.Speed({"elementwise": (0.0, 1.0, 0.0, 0.0)}, 0.0, ""))
