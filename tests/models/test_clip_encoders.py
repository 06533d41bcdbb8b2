"""The encoders that see clips: their published sizes, their levels, and how far they look."""

import pytest
import torch
from torch import nn
from torchvision.models.video import resnet

from davis_exp.budget import count, empty_weights
from davis_exp.models.decoders.pixel import PixelDecoder
from davis_exp.models.encoders import csn
from davis_exp.models.encoders.clip_encoder import ClipEncoder, context_of
from davis_exp.models.encoders.csn import CSN, ChannelSeparated
from davis_exp.models.encoders.torchvision_video import TorchvisionVideoEncoder
from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.models.temporal.none import NoTemporal


class Depthwise(resnet.Conv3DSimple):
    """What makes torchvision's bottleneck network an irCSN."""

    def __init__(self, channels: int, width: int, midplanes: int, stride: int = 1) -> None:
        nn.Conv3d.__init__(self, channels, width, 3, stride, 1, groups=channels, bias=False)


def reference(blocks) -> nn.Module:
    def stem() -> nn.Sequential:
        return nn.Sequential(*resnet.BasicStem(), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))

    return resnet.VideoResNet(resnet.Bottleneck, [Depthwise] * 4, list(blocks), stem)


def test_csn_is_the_bottleneck_network_with_depthwise_convolutions() -> None:
    torch.manual_seed(0)
    ours, theirs = ChannelSeparated((2, 1, 1, 2)), reference((2, 1, 1, 2))
    tensors = [v for k, v in theirs.state_dict().items() if not k.startswith("fc.")]
    for (name, tensor), value in zip(ours.state_dict().items(), tensors, strict=True):
        assert tensor.shape == value.shape, name
        if value.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else value)
            value.copy_(tensor)
    x, expected = torch.rand(1, 3, 8, 64, 32), []
    with torch.no_grad():
        levels = ours.eval()(x)
        x = theirs.eval().stem(x)
        for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            x = layer(x)
            expected.append(x)
    torch.testing.assert_close(levels, expected)
    assert [tuple(level.shape[1:]) for level in levels] == [
        (256, 8, 16, 8),
        (512, 4, 8, 4),
        (1024, 2, 4, 2),
        (2048, 1, 2, 1),
    ]


@pytest.mark.parametrize(("depth", "published"), [(50, 12.3e6), (152, 28.9e6)])
def test_csn_has_the_published_size(depth: int, published: float) -> None:
    with empty_weights():
        encoder, theirs = CSN(depth), reference(csn.BLOCKS[depth])
    parameters = count(encoder)[0].parameters
    assert parameters == pytest.approx(published, rel=0.01)
    assert parameters == count(theirs)[0].parameters - (2048 * 400 + 400)


@pytest.mark.parametrize(
    ("name", "millions"), [("mc3_18", 11.49), ("r2plus1d_18", 31.30), ("r3d_18", 33.17), ("s3d", 7.91)]
)
def test_torchvision_nets_have_their_published_sizes(name: str, millions: float) -> None:
    """The published counts (11.70, 31.51, 33.37, 8.32 M) less the classifier of 400 actions."""
    with empty_weights():
        assert count(TorchvisionVideoEncoder(name))[0].parameters == pytest.approx(millions * 1e6, rel=0.001)


@pytest.mark.parametrize(
    ("name", "channels", "strides", "temporal_strides"),
    [
        ("mc3_18", (64, 128, 256, 512), (2, 4, 8, 16), (1, 1, 1, 1)),
        ("r2plus1d_18", (64, 128, 256, 512), (2, 4, 8, 16), (1, 2, 4, 8)),
        ("r3d_18", (64, 128, 256, 512), (2, 4, 8, 16), (1, 2, 4, 8)),
        ("s3d", (64, 192, 480, 832, 1024), (2, 4, 8, 16, 32), (2, 2, 2, 4, 8)),
    ],
)
def test_torchvision_levels(name: str, channels, strides, temporal_strides) -> None:
    with empty_weights():
        encoder = TorchvisionVideoEncoder(name)
    assert encoder.levels == Levels(channels, strides, temporal_strides)
    levels = encoder.to("meta")(torch.empty(2, 24, 3, 96, 64, device="meta"))
    given = zip(channels, strides, temporal_strides, strict=True)
    assert [tuple(level.shape) for level in levels] == [
        (2, 24 // t, c, 96 // s, 64 // s) for c, s, t in given
    ]


def test_s3d_gives_what_torchvision_computes() -> None:
    """The classifier's own features, and the statistics that its weights come with."""
    from torchvision.models.video import S3D_Weights, s3d

    torch.manual_seed(0)
    net, encoder = s3d().eval(), TorchvisionVideoEncoder("s3d").eval()
    encoder.net.layers.load_state_dict(net.features.state_dict())
    frames = torch.rand(1, 16, 3, 64, 64)
    preset = S3D_Weights.KINETICS400_V1.transforms()
    images = (frames - torch.tensor(preset.mean).view(3, 1, 1)) / torch.tensor(preset.std).view(3, 1, 1)
    with torch.no_grad():
        expected = net.features(images.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(encoder(frames)[-1], expected)


def mini_csn() -> ClipEncoder:
    """An irCSN of one block per stage whose blocks are no mere shortcuts."""
    blocks = (1, 1, 1, 1)
    return ClipEncoder(
        "mini",
        ChannelSeparated(blocks, learn_norm=False),
        levels=Levels((256, 512, 1024, 2048), (4, 8, 16, 32), (1, 2, 4, 8)),
        context=context_of(csn.temporal_layers(blocks)),
    )


@pytest.mark.parametrize("name", ["mini_csn", "mc3_18", "s3d"])
def test_context_is_how_far_the_encoder_looks(name: str) -> None:
    """By gradients: the frames that reach a map in the middle of the coarsest level."""
    torch.manual_seed(0)
    encoder = (mini_csn() if name == "mini_csn" else TorchvisionVideoEncoder(name)).eval()
    past, future = encoder.context
    step = encoder.levels.temporal_strides[-1]
    length = -(-(past + future + step) // step) * step + 2 * step
    frames = torch.rand(1, length, 3, 32, 32, requires_grad=True)
    middle = length // step // 2
    encoder(frames)[-1][:, middle].square().sum().backward()
    reached = frames.grad.abs().amax(dim=(0, 2, 3, 4)).nonzero().flatten().tolist()
    first, last = middle * step, middle * step + step - 1  # the frames whose map it is
    looked = last - reached[0], reached[-1] - first
    assert looked[0] <= past
    assert looked[1] <= future
    if name != "s3d":  # whose pooling is lopsided, so that its own context is a bound
        assert looked[0] == past


def test_contexts_of_the_published_nets() -> None:
    """Worked out by hand: kernels of 3 at 1, 2, 4 and 8 frames, and the 7 other frames that share a map."""
    with empty_weights():
        assert CSN(50).context == (1 + 3 + (1 + 3 * 2) + (2 + 5 * 4) + (4 + 2 * 8) + 7,) * 2
        assert CSN(152).context == (1 + 3 + (1 + 7 * 2) + (2 + 35 * 4) + (4 + 2 * 8) + 7,) * 2


@pytest.mark.parametrize("frames", [1, 5, 8, 9])
@pytest.mark.parametrize("name", ["mini_csn", "s3d"])
def test_any_number_of_frames_of_any_size(name: str, frames: int) -> None:
    torch.manual_seed(0)
    encoder = mini_csn() if name == "mini_csn" else TorchvisionVideoEncoder(name)
    model = VideoSegmenter(encoder, NoTemporal, PixelDecoder).eval()
    with torch.no_grad():
        logits = model(torch.rand(1, frames, 3, 33, 47))[0].logits
    assert logits.shape == (1, frames, 1, 33, 47)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_a_frame_before_changes_what_is_seen_in_one() -> None:
    torch.manual_seed(0)
    encoder = mini_csn().eval()
    frames = torch.rand(1, 8, 3, 32, 32)
    changed = frames.clone()
    changed[:, 0] = 1 - changed[:, 0]
    with torch.no_grad():
        finest, other = encoder(frames)[0], encoder(changed)[0]
    difference = (finest - other).abs().amax(dim=(0, 2, 3, 4))
    assert difference[:3].min() > 0
    assert difference[3:].max() == 0  # the stem and one block look one frame each


def test_frozen_norm_keeps_scale_and_shift_only() -> None:
    encoder = ChannelSeparated((1, 1, 1, 1), learn_norm=False)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm3d)]
    fixed = {id(p) for norm in norms for p in norm.parameters()}
    assert {id(p) for p in encoder.parameters() if not p.requires_grad} == fixed
    assert all(bool((norm.weight == 1).all()) for norm in norms)
    assert norms[0].training
    encoder(torch.rand(1, 3, 8, 64, 64))
    assert norms[0].running_mean.abs().max() > 0
    with empty_weights():
        assert any(not p.requires_grad for p in CSN(50, frozen_norm=True).parameters())
        assert all(p.requires_grad for p in CSN(50).parameters())


def test_blocks_start_as_shortcuts_when_their_norm_learns() -> None:
    torch.manual_seed(0)
    block = ChannelSeparated((2, 1, 1, 1)).stages[0][1]
    x = torch.rand(2, 256, 2, 4, 4)
    assert torch.equal(block(x), x)
    block(x).sum().backward()
    assert block.residual[-1].weight.grad.abs().max() > 0


def test_running_statistics_follow_within_a_short_training() -> None:
    assert {
        m.momentum for m in TorchvisionVideoEncoder("s3d").modules() if isinstance(m, nn.BatchNorm3d)
    } == {0.1}


def test_kinetics_weights_come_from_torchvision(monkeypatch) -> None:
    import torchvision.models

    build, asked = torchvision.models.get_model, []

    def offline(name: str, weights: str | None = None):
        asked.append(weights)
        torch.manual_seed(7)
        return build(name, weights=None)

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    encoder = TorchvisionVideoEncoder("mc3_18", weights="kinetics400")
    assert asked == [None]  # the constructor loads nothing
    with torch.no_grad():
        next(encoder.parameters()).zero_()
    encoder.load_weights()
    assert asked == [None, "KINETICS400_V1"]
    assert next(encoder.parameters()).abs().max() > 0
    assert "KINETICS400_V1" in torchvision.models.get_model_weights("mc3_18").__members__


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CSN(101), "^depth must be 50 or 152, got 101$"),
        (lambda: CSN(50, weights="kinetics"), "^weights of irCSN .*must be null .*'kinetics'"),
        (lambda: TorchvisionVideoEncoder("r2plus1d_19"), r"^name=r2plus1d_19: .*choose r2plus1d_18"),
        (lambda: TorchvisionVideoEncoder("swin3d_t"), r"^name=swin3d_t: .*choose "),
        (
            lambda: TorchvisionVideoEncoder("s3d", "imagenet"),
            "^weights must be kinetics400 .*got 'imagenet'",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)
