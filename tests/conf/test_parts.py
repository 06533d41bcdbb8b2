"""Every choice of the model's groups composes, builds, and runs with every other that suits it."""

import functools
import itertools
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from davis_exp import budget, config
from davis_exp.models.losses import Loss
from davis_exp.models.segmenter import Prediction, VideoSegmenter

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = ("encoder", "temporal", "decoder", "loss", "budget", "model")
H, W = 97, 151


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


@functools.cache
def node(group: str, name: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+{group}={name}"])[group]


@functools.cache
def empty(encoder: str) -> Any:
    """The encoder, of shapes only."""
    with budget.empty_weights():
        return instantiate(node("encoder", encoder)).to("meta").eval()


@functools.cache
def encoded(encoder: str) -> list[Tensor]:
    """The encoder's features of two frames, of shapes only."""
    frames = torch.empty(1, 2, 3, H, W, device="meta")
    return join(empty(encoder), "none", "pixel").to("meta").encode(frames, frames)


def join(encoder: Any, temporal: str, decoder: str) -> VideoSegmenter:
    return VideoSegmenter(
        encoder, instantiate(node("temporal", temporal)), instantiate(node("decoder", decoder))
    )


def suits(strides: tuple[int, ...], decoder: str) -> bool:
    """Whether a decoder ought to take levels at these strides; "pixel" takes any."""
    pyramid = strides[0] in (2, 4) and all(b == 2 * a for a, b in itertools.pairwise(strides))
    fine = decoder != "fpn_fine" or len(strides) > 4
    return decoder == "pixel" or (pyramid and strides[-1] == 32 and fine)


@pytest.mark.parametrize("path", [p for g in GROUPS for p in sorted((CONF / g).glob("*.yaml"))], ids=str)
def test_says_what_it_is(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert "${" not in path.read_text()


@pytest.mark.parametrize("group", ["temporal", "decoder"])
def test_completed_by_the_segmenter(group: str) -> None:
    for name in choices(group):
        assert node(group, name)._partial_ is True
        assert node(group, name)._convert_ == "all"


@pytest.mark.parametrize("name", choices("encoder"))
def test_encoder_gives_what_it_declares(name: str) -> None:
    encoder = empty(name)
    frames = torch.empty(1, 8, 3, 96, 160, device="meta")
    levels = encoder(frames, frames if encoder.needs_motion else None)
    declared = zip(
        encoder.levels.channels, encoder.levels.strides, encoder.levels.temporal_strides, strict=True
    )
    assert [tuple(level.shape) for level in levels] == [
        (1, 8 // t, c, 96 // s, 160 // s) for c, s, t in declared
    ]
    assert list(encoder.levels.strides) == sorted(encoder.levels.strides)
    assert budget.count(encoder)[0].parameters > 0 or name == "pixel"


def check(encoder: str, temporal: str, decoder: str) -> bool:
    """Whether the three run together; if not, they are refused with what to change."""
    part = empty(encoder)
    try:
        with budget.empty_weights():
            model = join(part, temporal, decoder).to("meta").eval()
    except ValueError as error:
        refusal = str(error)
        assert not suits(part.levels.strides, decoder) or "carries state" in refusal, refusal
        assert "or another encoder" in refusal or "without state" in refusal
        return False
    prediction, _ = model.decode(encoded(encoder), (2, H, W))
    assert prediction.logits.shape == (1, 2, 1, H, W), (encoder, temporal, decoder)
    return True


# Whether parts go together is a matter of two of them: levels for a decoder, state beside a window.


@pytest.mark.parametrize("encoder", choices("encoder"))
def test_every_decoder_and_temporal_part_runs_or_is_refused_with(encoder: str) -> None:
    for decoder in choices("decoder"):
        check(encoder, "none", decoder)
    for temporal in choices("temporal"):
        check(encoder, temporal, "pixel")


@pytest.mark.parametrize("temporal", choices("temporal"))
def test_every_decoder_runs_or_is_refused_with(temporal: str) -> None:
    for decoder in choices("decoder"):
        check("efficientnet_lite0", temporal, decoder)


def test_pixel_takes_no_decoder_but_pixel() -> None:
    assert "pixel" in choices("decoder")
    for decoder in set(choices("decoder")) - {"pixel"}:
        with pytest.raises(ValueError, match=r"^decoder: \w+ needs .*use the pixel decoder"):
            join(empty("pixel"), "none", decoder)


def run(encoder: str, temporal: str, decoder: str) -> None:
    torch.manual_seed(0)
    model = join(instantiate(node("encoder", encoder)), temporal, decoder).eval()
    frames = torch.rand(1, 2, 3, H, W)
    with torch.no_grad():
        prediction, _ = model(frames, frames if model.needs_motion else None)
    assert prediction.logits.shape == (1, 2, 1, H, W)
    assert torch.isfinite(prediction.logits).all()
    assert prediction.logits.std() > 0


@pytest.mark.parametrize("decoder", choices("decoder"))
def test_decoders_run(decoder: str) -> None:
    run("efficientnet_lite0", "none", decoder)


@pytest.mark.parametrize("temporal", choices("temporal"))
def test_temporal_parts_run(temporal: str) -> None:
    run("efficientnet_lite0", temporal, "linknet")


@pytest.mark.parametrize("encoder", sorted(set(choices("encoder")) - {"pixel"}))
def test_encoders_run(encoder: str) -> None:
    run(encoder, "none", "linknet")


@pytest.mark.slow
@pytest.mark.parametrize("decoder", choices("decoder"))
@pytest.mark.parametrize("encoder", choices("encoder"))
def test_all_pairs_run(encoder: str, decoder: str) -> None:
    if not suits(empty(encoder).levels.strides, decoder):
        pytest.skip(f"{encoder} and {decoder} do not suit")
    for temporal in choices("temporal"):
        if check(encoder, temporal, decoder):
            run(encoder, temporal, decoder)


@pytest.mark.parametrize("name", choices("encoder"))
def test_defaults_reach_for_no_network(monkeypatch, name: str) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError(f"reached for the network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    instantiate(node("encoder", name)).load_weights()


@pytest.mark.parametrize("name", sorted(set(choices("encoder")) - {"pixel"}))
def test_encoders_can_be_frozen(name: str) -> None:
    with budget.empty_weights():
        encoder = instantiate(node("encoder", name), frozen=True)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("name", choices("loss"))
def test_losses_learn(name: str) -> None:
    loss = instantiate(node("loss", name))
    assert isinstance(loss, Loss)
    masks = torch.zeros(1, 2, 1, 8, 8)
    masks[..., 2:5, 2:6] = 1
    logits = torch.zeros(1, 2, 1, 8, 8, requires_grad=True)
    loss(Prediction(logits), masks).backward()
    assert (logits.grad[masks == 1] < 0).all()
    assert (logits.grad[masks == 0] >= 0).all()


@pytest.mark.parametrize("name", choices("budget"))
def test_budgets(name: str) -> None:
    values = node("budget", name)
    assert set(values) == {"name", "aims", *config.LIMITED}
    assert values.name == name
    assert values.limit is None or type(values.limit) is int
    assert {values[key] for key in config.LIMITED if key != "limit"} == {None}


def test_composed_joins_the_parts() -> None:
    parts = {"encoder": "efficientnet_lite0", "temporal": "none", "decoder": "unet"}
    with budget.empty_weights():
        model = instantiate(node("model", "composed"))(
            **{group: instantiate(node(group, name)) for group, name in parts.items()}
        )
    assert isinstance(model, VideoSegmenter)
    budget.guard(model, node("budget", "contest").limit)
