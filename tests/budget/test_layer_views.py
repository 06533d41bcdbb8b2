"""The layers of a model to look at: what a low or narrow terminal shows, and what is always there."""

import pytest

from davis_exp import budget
from davis_exp.budget import layer_views, speed
from davis_exp.budget.layer_views import Detailed
from davis_exp.budget.trace import Op
from davis_exp.utils.errors import BadInput

MB = 2**20


@pytest.fixture(autouse=True)
def terminal(monkeypatch, tmp_path):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("LINES", "10")


def layer(i: int, live: int = 0) -> budget.Layer:
    ops = (Op(f"encoder.layer{i}", "mm", "matmul", 2 * i, 10, live),)
    return budget.Layer(f"encoder.{'deep.' * 30}layer{i}", "encoder", "Linear", 1, 2 * i, 10, live, ops)


def many(n: int = 100) -> budget.Cost:
    layers = (layer(0, live=7 * MB), *(layer(i, live=MB) for i in range(1, n)))
    return budget.Cost((budget.PartCost("encoder", n, 0, 1),), activations=7 * MB, layers=layers)


def test_a_low_terminal_shows_those_that_cost_most_and_the_peak():
    text = layer_views.as_text(Detailed.of(many()))
    head, *lines = text.splitlines()
    assert head.split() == ["layer", "module", "parameters", "M", "mult-adds", "FLOPs/byte", "MB", "alive"]
    shown = [line.split()[0].rpartition("layer")[2] for line in lines[: layer_views.FEWEST]]
    assert shown == [
        "0",
        *map(str, range(86, 100)),
    ]  # in the order in which they run; the first holds the peak
    assert lines[layer_views.FEWEST].split()[:3] == ["85", "others", "85"]
    assert lines[layer_views.FEWEST + 1].split() == ["total", "100", "0.00", "9.9", "7.0"]
    assert "15 of 100 layers are shown" in text
    assert max(map(len, lines[: layer_views.FEWEST + 2])) <= 90


def test_all_are_shown_where_there_is_room(monkeypatch):
    monkeypatch.setenv("LINES", "200")
    text = layer_views.as_text(Detailed.of(many()))
    assert "others" not in text
    assert "are shown" not in text
    assert len(text.splitlines()) > 100


def test_measured_times_are_by_layer_and_by_output_frame():
    cost = budget.Cost((), activations=1, frames=2.0, layers=(layer(1),))
    name = cost.layers[0].name
    took = speed.Timed((Op(name, "mm", "matmul", 2, 10, 0),), (0.5,), 0.6)
    detailed = Detailed.of(cost, took)
    assert detailed.rows()[0]["measured_ms"] == 250
    assert detailed.to_dict()["measured_ms"] == 300
    assert "the whole model, measured: 300.0 ms a frame" in layer_views.as_text(detailed)


def test_a_model_that_could_not_be_counted_has_no_layers():
    with pytest.raises(BadInput, match="--layers: this model computes with the values"):
        Detailed.of(budget.Cost((budget.PartCost("model", 1, 0),)))


@pytest.mark.parametrize(("name", "width", "short"), [("a.b", 3, "a.b"), ("ab.cd.ef", 5, "…d.ef")])
def test_the_end_of_a_name_says_most(name, width, short):
    assert layer_views.shortened(name, width) == short


def test_the_picture_has_a_bar_for_each_layer_and_measure():
    svg = layer_views.as_svg(Detailed.of(many(5)))
    assert svg.count("<rect ") == 2 * 5
    assert 'class="bar first"' in svg
    assert "multiply-adds a frame" in svg
