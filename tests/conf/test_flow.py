"""Every option of the group `flow` composes, and gives a two-stream model its motion, or says why it cannot."""

import pytest
import torch
from torch import nn

from davis_exp.config import conf_dir
from davis_exp.data.camera import StabilisedFlow
from davis_exp.data.flow import DisFlow, RgbFlow
from davis_exp.experiment import build
from davis_exp.models.flow.raft import RaftSmall
from davis_exp.utils.errors import BadInput

OPTIONS = sorted(path.stem for path in (conf_dir() / "flow").glob("*.yaml"))
DATA = (
    *("data=generated", "data.train=3", "data.test=1", "data.length=4", "data.height=48", "data.width=64"),
    *("data.size=[32,64]", "data.workers=0", "data.batch_size=2", "data.holdout=1"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_options():
    assert OPTIONS == ["dis", "dis_stabilised", "none", "raft_small", "rgb"]


@pytest.mark.parametrize("name", OPTIONS)
def test_motion_comes_from_the_data_or_from_the_model(compose, name):
    cfg = compose(f"flow={name}", *DATA)
    kinds = {
        "none": type(None),
        "dis": DisFlow,
        "dis_stabilised": StabilisedFlow,
        "rgb": RgbFlow,
        "raft_small": type(None),
    }
    assert type(build.build_motion(cfg)) is kinds[name]
    data = build.build_data(cfg, build.build_motion(cfg))
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert ("motion" in batch) == (name in ("dis", "dis_stabilised", "rgb"))
    if "motion" in batch:
        assert batch["motion"].shape == batch["frames"].shape == (2, 2, 3, 32, 64)
        assert torch.equal(batch["motion"], batch["frames"]) == (name == "rgb")


@pytest.mark.parametrize("name", OPTIONS)
def test_a_two_stream_model_takes_every_option_but_none(compose, name):
    cfg = compose("encoder=two_stream", f"flow={name}", "inference.window=2", "inference.stride=1")
    if name == "none":
        with pytest.raises(BadInput, match=r"^flow: this model needs motion; .*flow=dis"):
            build.cost(cfg)
        return
    parts = {part.name: part.parameters for part in build.cost(cfg).parts}
    assert parts.get("flow") == (990_162 if name == "raft_small" else None)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_model_that_uses_no_motion_refuses_every_option_but_none(compose, name):
    cfg = compose(f"flow={name}")
    if name == "none":
        assert not build.build_model(cfg).needs_motion
    else:
        with pytest.raises(BadInput, match=r"^flow: .* uses no motion; set flow=none"):
            build.cost(cfg)


def test_a_learned_flow_is_the_models_own(compose):
    model = build.build_model(compose("encoder=two_stream", "flow=raft_small"))
    assert isinstance(model.flow, RaftSmall)
    assert isinstance(model, nn.Module)
    assert not model.needs_motion
    assert model.context == (0, 1)


def test_a_learned_flow_cannot_stream_with_a_memory(compose):
    with pytest.raises(BadInput, match=r"temporal carries state .* flow looks at"):
        build.cost(compose("encoder=two_stream", "flow=raft_small", "temporal=conv_gru"))


def test_dis_is_kept_where_the_config_says(compose, cache, tmp_path):
    assert build.build_motion(compose("flow=dis")).cache.folder == cache / "flow"
    set_here = build.build_motion(compose("flow=dis", f"flow.cache={tmp_path / 'here'}"))
    assert set_here.cache.folder == tmp_path / "here"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("flow.preset=slow", r"flow\.preset"),
        ("flow.direction=up", r"flow\.direction"),
        ("+flow.wieghts=x", "flow.wieghts"),
    ],
)
def test_what_cannot_be_names_its_key(compose, override, message):
    for option in ("dis", "raft_small"):
        if option == "raft_small" and "preset" in override:
            continue
        with pytest.raises(BadInput, match=message):
            build.cost(compose("encoder=two_stream", f"flow={option}", override))
