"""Costs against independent counts, and the guard at the edges of the contest's limit."""

import json
import logging
import subprocess
import sys
from functools import partial

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from davis_exp import budget
from davis_exp.models.decoders.pixel import PixelDecoder
from davis_exp.models.decoders.smp import Segformer, Unet, UnetPlusPlus
from davis_exp.models.encoders.pixel import PixelEncoder
from davis_exp.models.encoders.smp import SmpEncoder
from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.models.temporal.conv_gru import ConvGRU
from davis_exp.models.temporal.none import NoTemporal
from davis_exp.utils.errors import BadInput, OverBudget


def composed(encoder: nn.Module, decoder=PixelDecoder, temporal=NoTemporal) -> VideoSegmenter:
    return VideoSegmenter(encoder, temporal, decoder)


def tiny() -> VideoSegmenter:
    return composed(TimmEncoder("lcnet_050"), Unet)


@pytest.mark.parametrize(
    ("name", "part", "whole", "millions", "inside"),
    [
        ("resnet50", UnetPlusPlus, smp.UnetPlusPlus, 49.0, True),
        ("resnet101", UnetPlusPlus, smp.UnetPlusPlus, 68.0, False),
        ("mit_b2", Segformer, smp.Segformer, 24.7, True),
    ],
)
def test_the_edges_of_the_contest_limit(name, part, whole, millions: float, inside: bool) -> None:
    with budget.empty_weights():
        model = composed(SmpEncoder(name), part)
        reference = sum(p.numel() for p in whole(name, encoder_weights=None).parameters())
    cost = budget.Cost(budget.count(model))
    assert cost.parameters == reference
    assert round(cost.parameters / 1e6, 1) == millions
    if inside:
        budget.guard(cost, 50_000_000)
    else:
        with pytest.raises(OverBudget, match=f"over budget by {reference - 50_000_000:,}: "):
            budget.guard(model, 50_000_000)


def test_guard_holds_at_the_limit_itself_and_shows_the_table() -> None:
    model = composed(PixelEncoder())  # 4 parameters
    budget.guard(model, 4)
    budget.guard(model, None)
    with pytest.raises(BadInput, match="over budget by 1: the model has 4 parameters") as over:
        budget.guard(model, 3)
    assert over.value.exit_code == 3
    assert "\n" not in str(over.value)
    assert [line.split()[:2] for line in over.value.table.splitlines()[1:]] == [
        ["encoder", "0"],
        ["temporal", "0"],
        ["decoder", "4"],
        ["total", "4"],
    ]


def test_frozen_parameters_count_and_buffers_stand_beside() -> None:
    frozen = budget.count(TimmEncoder("lcnet_050", frozen=True))
    assert frozen == budget.count(TimmEncoder("lcnet_050"))
    (norm,) = budget.count(nn.BatchNorm2d(8))
    assert (norm.name, norm.parameters, norm.buffers) == ("model", 16, 17)  # mean, variance, and batches seen


def test_what_parts_share_counts_once() -> None:
    model = tiny()
    alone = {part.name: part.parameters for part in budget.count(model)}
    model.temporal.also = model.encoder.net
    shared = {part.name: part.parameters for part in budget.count(model)}
    assert shared == alone
    assert sum(shared.values()) == sum(p.numel() for p in model.parameters())


def test_parameters_outside_the_parts_are_not_forgotten() -> None:
    class Own(VideoSegmenter):
        def __init__(self) -> None:
            super().__init__(PixelEncoder(), NoTemporal, PixelDecoder)
            self.temperature = nn.Parameter(torch.ones(5))

    assert budget.count(Own())[-1] == budget.PartCost("rest", 5, 0)
    assert budget.measure(Own(), size=(4, 4)).parameters == 9


def test_flops_of_one_convolution() -> None:
    cost = budget.measure(composed(PixelEncoder()))
    assert cost.flops == 2 * 3 * 480 * 854
    assert {part.name: part.flops for part in cost.parts} == {
        "encoder": 0,
        "temporal": 0,
        "decoder": cost.flops,
    }


def test_flops_include_padding() -> None:
    padded, exact = (budget.measure(tiny(), size=size).flops for size in [(97, 151), (128, 160)])
    assert padded == exact


@pytest.mark.parametrize(
    "build",
    [
        tiny,
        lambda: composed(SmpEncoder("mit_b0"), Segformer),
        lambda: composed(TimmEncoder("swin_tiny_patch4_window7_224", strict_img_size=False)),
        lambda: composed(TimmEncoder("lcnet_050"), temporal=partial(ConvGRU, width=16)),
    ],
    ids=["convolutions", "attention", "windowed attention", "recurrent"],
)
def test_flops_without_arithmetic_are_those_of_a_real_pass(build) -> None:
    real = build().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        real(torch.rand(1, 1, 3, 64, 96))
    assert budget.measure(real, size=(64, 96)).flops == counter.get_total_flops() > 0
    with budget.empty_weights():
        empty = build()
    assert budget.measure(empty, size=(64, 96)) == budget.measure(real, size=(64, 96))


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = tiny().train()
    model.decoder.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    budget.measure(model, size=(64, 64))
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, before[name])


class Window(nn.Module):
    """A segmenter from elsewhere: a convolution over time and space."""

    context = (2, 1)
    needs_motion = True

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(6, 1, 1)

    def forward(self, frames: Tensor, motion: Tensor) -> Tensor:
        return self.conv(torch.cat([frames, motion], dim=2).transpose(1, 2))


def test_windows_cost_their_overlap() -> None:
    once = 2 * 6 * 480 * 854
    assert budget.measure(Window()).flops == 4 * once  # as many frames as the context spans, one step
    assert budget.measure(Window(), window=8, step=5).flops == round(8 * once / 5)
    cost = budget.measure(Window(), window=8, step=8)
    assert cost.parts == (budget.PartCost("model", 7, 0, once),)


def test_frames_on_their_own_cost_the_same_whatever_the_window() -> None:
    model = composed(PixelEncoder())
    assert budget.measure(model, window=8, step=5) == budget.measure(model)


def test_a_model_that_needs_data_is_counted_without_flops(caplog) -> None:
    class Peeks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Linear(1, 1)

        def forward(self, frames: Tensor) -> Tensor:
            return self.conv(frames * frames.max().item())

    with caplog.at_level(logging.WARNING, logger="davis_exp.budget"):
        cost = budget.measure(Peeks())
    assert cost.parameters == 2
    assert cost.flops is None
    assert "FLOPs not counted" in caplog.text
    assert cost.table().splitlines()[-1].split() == ["total", "2", "0", "100", "%", "-"]


def test_empty_weights_hold_shapes_only() -> None:
    with budget.empty_weights():
        empty = tiny()
    assert sum(p.untyped_storage().nbytes() for p in empty.parameters()) == 4 * len(list(empty.parameters()))
    assert budget.count(empty) == budget.count(tiny())
    assert all(p.any() for p in nn.Linear(2, 2).parameters())


def test_empty_weights_keep_sharing_and_freezing() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weight = nn.Parameter(torch.zeros(3), requires_grad=False)
            self.first, self.second, self.third = nn.Module(), nn.Module(), nn.Module()
            self.first.weight = weight
            self.second.weight = weight
            self.third.weight = self.first.weight
            self.register_parameter("absent", None)

    with budget.empty_weights():
        tied = Tied()
    assert tied.first.weight is tied.second.weight is tied.third.weight
    assert tied.first.weight.untyped_storage().nbytes() == 4
    assert not tied.first.weight.requires_grad
    assert tied.absent is None
    assert budget.count(tied)[0].parameters == 3


def test_empty_weights_end_with_an_error_too() -> None:
    def fail() -> None:
        with budget.empty_weights():
            raise KeyError("inside")

    register = nn.Module.register_parameter
    with pytest.raises(KeyError):
        fail()
    assert nn.Module.register_parameter is register


def test_to_dict_is_json() -> None:
    found = json.loads(json.dumps(budget.measure(composed(PixelEncoder())).to_dict()))
    decoder = {"name": "decoder", "parameters": 4, "buffers": 0, "flops": 2 * 3 * 480 * 854}
    assert found["parts"][2] == decoder
    totals = {"parameters": 4, "buffers": 6, "flops": decoder["flops"], "size": [480, 854]}  # 6: mean and std
    assert {key: found[key] for key in totals} == totals


def test_table_lines_up() -> None:
    lines = budget.measure(tiny(), size=(64, 64)).table().splitlines()
    *lines, peak = lines
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[:3] == ["part", "parameters", "buffers"]
    assert [line.split()[0] for line in lines[1:]] == ["encoder", "temporal", "decoder", "total"]
    assert peak.startswith("peak activations")


def test_needs_neither_lightning_nor_hydra() -> None:
    code = (
        "import sys, davis_exp.budget\n"
        "from davis_exp.models.encoders.efficientnet_lite import EfficientNetLite\n"
        "EfficientNetLite()\n"
        "heavy = {'pytorch_lightning', 'hydra', 'segmentation_models_pytorch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
