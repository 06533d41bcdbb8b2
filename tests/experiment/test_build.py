import re

import pytest
from omegaconf import OmegaConf

from davis_exp import budget
from davis_exp.config import instantiate
from davis_exp.experiment import build
from davis_exp.utils.errors import BadInput


def test_make_names_what_it_refuses():
    node = OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2})
    assert instantiate.make(node, "decoder").weight.shape == (2, 3)
    with pytest.raises(BadInput, match=r"^decoder: Linear needs 'in_features'"):
        instantiate.make({"_target_": "torch.nn.Linear"}, "decoder")
    with pytest.raises(BadInput, match=r"^decoder\.out_featurs: .*out_features"):
        instantiate.make({**node, "out_featurs": 2}, "decoder")
    with pytest.raises(BadInput, match=r"^decoder\.out_features: .*int.*'two'"):
        instantiate.make({**node, "out_features": "two"}, "decoder")


def test_a_target_that_is_not_there_is_named_with_its_key():
    with pytest.raises(BadInput, match=r"^encoder\._target_: cannot import 'my\.Missing'"):
        instantiate.make({"_target_": "my.Missing"}, "encoder")
    with pytest.raises(BadInput, match=r"^encoder: names no class"):
        instantiate.make({"width": 3}, "encoder")


def test_a_constructors_refusal_is_bad_input():
    with pytest.raises(BadInput, match=r"^decoder\.in_channels must be divisible by groups"):
        instantiate.make(
            {
                "_target_": "torch.nn.Conv2d",
                "in_channels": 3,
                "out_channels": 4,
                "kernel_size": 3,
                "groups": 2,
            },
            "decoder",
        )


def test_nested_nodes_are_checked_under_their_own_key():
    node = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU", "inplac": True}]}
    with pytest.raises(BadInput, match=r"_args_\.0\.inplac"):
        instantiate.make(node, "decoder")


def test_cost_allocates_nothing_and_agrees_with_the_model(compose):
    cfg = compose("encoder=resnet18", "decoder=fpn")
    cost = build.cost(cfg)
    assert cost.parameters == sum(p.numel() for p in build.build_model(cfg).parameters())


TWO_STREAM = ("encoder=two_stream", "flow=dis", "decoder=linknet")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["encoder=smp", "encoder.name=resnet19"],
            r"encoder\.name=resnet19: smp has no such encoder; near it are: ",
        ),
        (["encoder=csn50", "encoder.depth=7"], r"encoder\.depth must be 50 or 152, got 7$"),
        (["temporal=conv_gru", "temporal.width=0"], r"temporal\.width must be at least 1, got 0$"),
        (["temporal=conv_gru", "temporal.levels=[9]"], r"temporal\.levels must be from -5 to 4"),
        (["temporal=attention", "temporal.heads=5"], r"temporal\.heads must divide width=128, got 5$"),
        (["decoder=boundary", "decoder.width=30"], r"decoder\.width must be a multiple of 4"),
        (["decoder=fpn", "decoder.width=0"], r"decoder\.width must be at least 1, got 0$"),
        (["encoder=pixel", "decoder=unet"], r"decoder: Unet needs at least 2 levels"),
        (
            ["encoder=csn50", "temporal=conv_gru", "decoder=pixel"],
            r"model: state and windows exclude each other: temp",
        ),
        (
            [*TWO_STREAM, "encoder@encoder.motion=csn50", "encoder.motion.depth=7"],
            r"encoder\.motion\.depth must be 50",
        ),
        (
            [*TWO_STREAM, "fusion@encoder.fusion=gated", "encoder.fusion.reduction=0"],
            r"encoder\.fusion\.reduction must",
        ),
        ([*TWO_STREAM, "encoder.weights=nonsense"], r"encoder\.weights must be zoo/NAME or null"),
        (
            [*TWO_STREAM, "encoder@encoder.motion=pixel"],
            r"encoder\.appearance and motion must have levels at the same",
        ),
        ([*TWO_STREAM[:1], "flow=raft_small", "flow.updates=0"], r"flow\.updates must be at least 1, got 0$"),
        (["flow=raft_small", "encoder=resnet18"], r"flow: the encoder uses no motion"),
        (
            [*TWO_STREAM, "+encoder.fusion.motion=[3]"],
            r"encoder\.fusion\.motion: Sum gets 'motion' from the program",
        ),
    ],
)
def test_what_a_part_refuses_is_named_by_where_the_part_stands(compose, overrides, line):
    with budget.empty_weights(), pytest.raises(BadInput, match=f"^{line}") as refusal:
        build.build_model(compose(*overrides))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            [
                "encoder@encoder.motion=timm",
                "encoder.motion.name=lcnet_050",
                "encoder.motion.weights=nonsense",
            ],
            "encoder.motion.weights=nonsense: cannot load them for lcnet_050 ",
        ),
        (
            ["encoder.weights=zoo/none"],
            "encoder.weights=zoo/none: cannot load them (zoo/none: no such model ships",
        ),
        (["encoder.weights=zoo/zoo_mobile"], "encoder.weights=zoo/zoo_mobile: they are of another encoder, "),
        (["flow=raft_small", "flow.weights=C_T_V9"], "flow.weights=C_T_V9: cannot load them "),
    ],
)
def test_weights_that_cannot_be_had_are_named_by_where_their_part_stands(compose, overrides, line):
    model = build.build_model(compose(*TWO_STREAM, *overrides))
    with pytest.raises(BadInput, match=f"^{re.escape(line)}") as refusal:
        build.load_weights(model)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        (["loss=bootstrapped", "loss.fraction=0"], "loss.fraction must be above 0 and at most 1, got 0"),
        (["loss=boundary", "loss.margin=-1"], "loss.margin must be at least 0, got -1"),
    ],
)
def test_what_a_loss_refuses_is_named_by_its_key(compose, loss, line):
    with pytest.raises(BadInput, match=f"^{line}$"):
        instantiate.make(compose(*loss).loss, "loss")


def test_a_library_that_does_not_say_what_is_wrong_is_named():
    node = {"_target_": "torch.optim.SGD", "params": [], "lr": 1.0}
    with pytest.raises(
        BadInput, match=r"^optimizer: torch\.optim\.SGD refuses these settings: optimizer got an empty"
    ):
        instantiate.make(node, "optimizer")
