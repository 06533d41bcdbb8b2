import pytest
from omegaconf import OmegaConf

from davis_exp import build, instantiate
from davis_exp.errors import BadInput


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
    with pytest.raises(BadInput, match=r"^decoder: .*in_channels must be divisible by groups"):
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
