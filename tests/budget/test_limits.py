"""Limits of a model's cost, and the guard that holds them."""

import pytest

from davis_exp import budget
from davis_exp.budget import limits, speed
from davis_exp.utils.errors import BadInput, OverBudget

COST = budget.Cost(
    (budget.PartCost("encoder", 1000, 7, 3 * 10**9),),
    activations=5 * 2**20,
    frames=2.0,
    layers=(budget.Layer("encoder.conv", "encoder", "Conv2d", 1000, 3 * 10**9, 10, 5 * 2**20, ()),),
)


@pytest.fixture
def measured(monkeypatch):
    """A machine on which every call takes 30 ms."""
    machine = speed.Speed({"elementwise": (0.0, 0.0, 0.0, 0.0)}, 0.1, "a machine")
    monkeypatch.setattr(speed.Speed, "seconds", lambda self, ops: 0.030)
    monkeypatch.setattr(speed, "load", lambda: machine)


@pytest.mark.parametrize(
    ("key", "most", "said"),
    [
        ("limit", 999, "by 1: the model has 1,000 parameters, budget.limit is 999"),
        ("max_flops", 2e9, "with 3,000,000,000 FLOPs a frame, budget.max_flops is 2,000,000,000"),
        ("max_activation_mb", 4.5, "with 5.0 MB of activations at once, budget.max_activation_mb is 4.5"),
        ("max_ms", 14.5, "with 15.0 ms a frame, as foretold for this machine, budget.max_ms is 14.5"),
    ],
)
def test_each_is_held_and_at_the_limit_itself_passed(measured, key, most, said):
    with pytest.raises(OverBudget) as over:
        budget.guard(COST, budget.Limits.of({key: most}))
    assert str(over.value) == f"over budget {said}"
    assert over.value.exit_code == 3
    assert (over.value.parameters, over.value.flops) == (1000, 3 * 10**9)
    assert over.value.others["activation_mb"] == 5
    assert over.value.table == COST.table()
    budget.guard(COST, budget.Limits.of({key: {"limit": 1000, "max_flops": 3e9, "max_ms": 15}.get(key, 5)}))


def test_all_that_is_over_is_said():
    with pytest.raises(OverBudget, match=r"by 990: .* is 10; with 3,000,000,000 FLOPs .* is 1,000$"):
        budget.guard(COST, budget.Limits(10, 1000))


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "many", True])
@pytest.mark.parametrize("key", ["limit", "max_flops", "max_activation_mb", "max_ms"])
def test_a_limit_is_a_number_of_at_least_0(key, value):
    with pytest.raises(
        BadInput, match=f"^budget.{key}: must be a number of at least 0, or null for any, got"
    ):
        budget.Limits.of({key: value})


def test_an_older_config_has_no_others():
    assert budget.Limits.of({"name": "contest", "limit": 5}) == budget.Limits(5)


def test_what_could_not_be_counted_cannot_be_limited(measured):
    unknown = budget.Cost((budget.PartCost("model", 2, 0),))
    budget.guard(unknown, budget.Limits(2))
    for key in ("max_flops", "max_activation_mb", "max_ms"):
        with pytest.raises(BadInput, match=f"^budget.{key}: .* could not be counted; set budget.{key}=null"):
            budget.guard(unknown, budget.Limits.of({key: 1}))


def test_a_time_needs_a_measured_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path))
    speed.load.cache_clear()
    with pytest.raises(BadInput, match="not measured yet; measure it: davis-exp budget --measure"):
        budget.guard(COST, budget.Limits(max_ms=1))
    budget.guard(COST, budget.Limits())  # nothing is asked of it


def test_a_run_is_told_the_time_only_where_it_is_limited(measured):
    numbers = {"nparams": 1000, "nflops": 3 * 10**9, "activation_mb": 5.0}
    assert budget.Limits(5).numbers(COST) == numbers
    assert budget.Limits(max_ms=1).numbers(COST) == numbers | {"ms": limits.milliseconds(COST)}


def test_what_a_search_aims_at():
    assert budget.aims({}) == budget.aims({"aims": None}) == {}
    assert budget.aims({"aims": {"ms": 150, "flops": 2e9}}) == {"ms": 150, "flops": 2e9}
    with pytest.raises(BadInput, match=r"^budget\.aims\.mss: no such cost; did you mean 'ms'\?"):
        budget.aims({"aims": {"mss": 1}})
    with pytest.raises(BadInput, match=r"^budget\.aims\.ms: must be a number above 0, got 0"):
        budget.aims({"aims": {"ms": 0}})


def test_a_run_that_aims_at_a_time_is_told_it(measured):
    assert budget.Limits().numbers(COST, timed=True)["ms"] == pytest.approx(15)
