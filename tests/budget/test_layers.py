"""The layers of a model: together they are what the guard counts, and what PyTorch itself counts and allocates."""

import warnings

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from davis_exp import budget
from davis_exp.budget.layers import layers
from davis_exp.budget.trace import Op
from davis_exp.config import conf_dir
from davis_exp.experiment import build
from davis_exp.models.memory_format import channels_last

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
LARGE = ("csn3d_full", "matnet_full", "tmo_full", "csn3d_lite")
SIZE = (120, 214)


def allocated(call) -> int:
    """The most bytes that PyTorch's allocator had given out at once in `call`, beside what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    most = now = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_layers_are_the_whole_model(compose, name):
    cost = build.cost(compose(f"experiment={name}", "budget=none"))
    for part in cost.parts:
        mine = [layer for layer in cost.layers if layer.part == part.name]
        assert sum(layer.flops for layer in mine) == part.flops
        assert sum(layer.parameters for layer in mine) == part.parameters
    assert sum(layer.parameters for layer in cost.layers) == cost.parameters
    assert sum(layer.flops for layer in cost.layers) == cost.flops > 0
    assert max(layer.activations for layer in cost.layers) == cost.activations


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in EXPERIMENTS],
)
def test_flops_and_memory_are_those_of_a_real_pass(compose, name):
    cfg = compose(f"experiment={name}", "budget=none")
    how = build.inference(cfg)
    model = build.build_model(cfg).eval()
    channels_last(model)
    cost = budget.measure(model, size=SIZE, window=how.window, step=how.stride)
    length, step = budget.clip(model.context, how.window, how.stride)
    frames = torch.rand(1, length, 3, *SIZE)
    motion = frames if model.needs_motion else None
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the profiler's own
        with FlopCounterMode(display=False) as counter:
            _, state = model(frames, motion)
        assert abs(cost.flops - counter.get_total_flops() / step) <= 4  # rounded, part by part
        real = allocated(lambda: model(frames, motion, state)) + sum(tensor.nbytes for tensor in state)
    assert cost.state == sum(tensor.nbytes for tensor in state)
    assert cost.activations == pytest.approx(real, rel=0.1)


def op(layer: str, flops: int, live: int = 0) -> Op:
    return Op(layer, "mm", "matmul", flops, 2 * flops, live)


def test_rounded_layers_still_sum_up():
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(7)])
    found = layers(model, ["model"], [op(str(i), 5) for i in range(7)], frames=3)
    assert sum(layer.flops for layer in found) == round(7 * 5 / 3)
    assert {layer.flops for layer in found} == {1, 2}


def test_a_module_that_runs_twice_is_one_layer_and_one_that_never_does_keeps_its_parameters():
    model = nn.ModuleDict({"a": nn.Linear(2, 3), "unused": nn.Linear(2, 2), "b": nn.ReLU()})
    found = layers(model, ["a", "model"], [op("b", 1, 10), op("a", 4, 20), op("a", 6, 30), op("", 1, 5)])
    assert [(x.name, x.part, x.parameters, x.flops, x.activations) for x in found] == [
        ("b", "model", 0, 1, 10),
        ("a", "a", 9, 10, 30),
        ("", "model", 0, 1, 5),
        ("unused", "model", 6, 0, 0),
    ]
    assert found[1].intensity == 0.5
    assert found[3].intensity == 0


def test_shared_parameters_count_in_the_first_layer():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert [layer.parameters for layer in layers(model, ["model"], [])] == [6, 2]
