import pytest
from omegaconf import OmegaConf

from davis_exp import build
from davis_exp.errors import BadInput


def test_make_names_what_it_refuses():
    node = OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2})
    assert build.make(node, "decoder").weight.shape == (2, 3)
    with pytest.raises(BadInput, match=r"^decoder: Linear needs 'in_features'"):
        build.make({"_target_": "torch.nn.Linear"}, "decoder")
    with pytest.raises(BadInput, match=r"^decoder\.out_featurs: .*out_features"):
        build.make({**node, "out_featurs": 2}, "decoder")
    with pytest.raises(BadInput, match=r"^decoder\.out_features: .*int.*'two'"):
        build.make({**node, "out_features": "two"}, "decoder")


def test_a_target_that_is_not_there_is_named_with_its_key():
    with pytest.raises(BadInput, match=r"^encoder\._target_: cannot import 'my\.Missing'"):
        build.make({"_target_": "my.Missing"}, "encoder")
    with pytest.raises(BadInput, match=r"^encoder: names no class"):
        build.make({"width": 3}, "encoder")


def test_a_constructors_refusal_is_bad_input():
    with pytest.raises(BadInput, match=r"^decoder: .*in_channels must be divisible by groups"):
        build.make(
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
        build.make(node, "decoder")


def test_cost_allocates_nothing_and_agrees_with_the_model(compose):
    cfg = compose("encoder=resnet18", "decoder=fpn")
    cost = build.cost(cfg)
    assert cost.parameters == sum(p.numel() for p in build.build_model(cfg).parameters())
