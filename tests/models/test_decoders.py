"""The decoder adapters, against smp's own models with the same weights."""

import pytest
import segmentation_models_pytorch as smp
import torch

from davis_exp.models.decoders import smp as ours
from davis_exp.models.decoders.fold_time import at_every_frame
from davis_exp.models.decoders.pixel import PixelDecoder
from davis_exp.models.encoders.smp import SmpEncoder
from davis_exp.models.levels import Levels

PAIRS = [
    (ours.Unet, smp.Unet, "resnet18", {}),
    (ours.Unet, smp.Unet, "mit_b0", {}),  # with an empty level
    (ours.UnetPlusPlus, smp.UnetPlusPlus, "resnet18", {}),
    (ours.Linknet, smp.Linknet, "resnet18", {}),
    (ours.FPN, smp.FPN, "mit_b0", {}),
    (ours.Segformer, smp.Segformer, "resnet18", {}),
    (ours.Segformer, smp.Segformer, "mit_b0", {}),
    (ours.UPerNet, smp.UPerNet, "resnet18", {}),
    (ours.DeepLabV3Plus, smp.DeepLabV3Plus, "resnet18", {"output_stride": 16}),
    (ours.DeepLabV3Plus, smp.DeepLabV3Plus, "resnet18", {"output_stride": 8}),
]


@pytest.mark.parametrize(("part", "whole", "name", "options"), PAIRS)
def test_same_logits_as_smp(part, whole, name: str, options: dict) -> None:
    torch.manual_seed(0)
    theirs_options = {f"encoder_{key}": value for key, value in options.items()}
    reference = whole(name, encoder_weights=None, **theirs_options).eval()
    encoder = SmpEncoder(name, **options).eval()
    decoder = part(inputs=encoder.levels).eval()
    encoder.net.load_state_dict(reference.encoder.state_dict())
    decoder.decoder.load_state_dict(reference.decoder.state_dict())
    decoder.head.load_state_dict(reference.segmentation_head[0].state_dict())
    frames = torch.rand(1, 2, 3, 64, 96)
    with torch.no_grad():
        images = (frames[0] - encoder.mean) / encoder.std
        expected = reference.segmentation_head[0](reference.decoder(reference.encoder(images)))
        logits = decoder(encoder(frames), (2, 64, 96)).logits
    # the same operators on tensors laid out otherwise: how they round differs from processor to processor
    torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", [ours.UnetPlusPlus, ours.Linknet])
def test_without_a_stride_2_level_they_end_at_stride_2(part) -> None:
    decoder = part(inputs=Levels((8, 16, 32), (4, 8, 16))).eval()
    features = [torch.rand(1, 2, c, 64 // s, 96 // s) for c, s in zip((8, 16, 32), (4, 8, 16), strict=True)]
    with torch.no_grad():
        assert decoder(features, (2, 64, 96)).logits.shape == (1, 2, 1, 32, 48)


def test_deeplab_brings_an_undilated_encoder_to_stride_16() -> None:
    decoder = ours.DeepLabV3Plus(inputs=Levels((8, 16), (4, 32))).eval()
    with torch.no_grad():
        fine, coarse = torch.rand(1, 1, 8, 24, 24), torch.rand(1, 1, 16, 3, 3)
        assert decoder(([fine, coarse]), (1, 96, 96)).logits.shape == (1, 1, 1, 24, 24)
    assert decoder.arrange([fine[0], coarse[0]], 96, 96)[-1].shape == (1, 16, 6, 6)


def test_levels_shortened_in_time_are_brought_to_every_frame() -> None:
    level = torch.arange(3.0).view(1, 3, 1, 1, 1).expand(1, 3, 2, 4, 4)
    out = at_every_frame(level, 6)
    assert out.shape == (1, 6, 2, 4, 4)
    torch.testing.assert_close(out[0, :, 0, 0, 0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2]))
    decoder = ours.Unet(inputs=Levels((8, 16), (2, 4))).eval()
    features = [torch.rand(1, 3, 8, 8, 8), torch.rand(1, 6, 16, 4, 4)]
    with torch.no_grad():
        assert decoder(features, (6, 16, 16)).logits.shape == (1, 6, 1, 16, 16)


def test_pixel_is_one_convolution_of_the_hypercolumn() -> None:
    """Resizing and a 1 × 1 convolution commute, so it equals a convolution of the resized levels stacked."""
    decoder = PixelDecoder(inputs=Levels((3, 5), (1, 2)))
    fine, coarse = torch.rand(1, 2, 3, 8, 8), torch.rand(1, 2, 5, 4, 4)
    resized = torch.nn.functional.interpolate(coarse[0], (8, 8), mode="bilinear")
    column = torch.cat([fine[0], resized], dim=1)  # (2, 8, 8, 8)
    weight = torch.cat([readout.weight for readout in decoder.readouts], dim=1)
    expected = torch.nn.functional.conv2d(column, weight, decoder.readouts[0].bias)
    torch.testing.assert_close(decoder([fine, coarse], (2, 8, 8)).logits[0], expected)
    assert sum(p.numel() for p in PixelDecoder(inputs=Levels((3,), (1,))).parameters()) == 4


@pytest.mark.parametrize(
    ("part", "strides", "needs"),
    [
        (ours.Unet, (16,), "at least 2 levels"),
        (ours.Unet, (16, 16, 16), "twice the stride"),
        (ours.Unet, (14, 28), "twice the stride"),
        (ours.UnetPlusPlus, (4, 16), "twice the stride"),
        (ours.FPN, (4, 8, 16), "at least 4 levels"),
        (ours.Segformer, (8, 16, 32), "one of them at 4"),
        (ours.UPerNet, (8, 16, 32), "one of them at 4"),
        (ours.DeepLabV3Plus, (2, 4), "at 8 or coarser"),
        (ours.DeepLabV3Plus, (8, 16), "stride 4"),
    ],
)
def test_unsuitable_levels_are_refused(part, strides: tuple[int, ...], needs: str) -> None:
    with pytest.raises(ValueError, match=f"{part.__name__} needs .*{needs}.*use the pixel decoder"):
        part(inputs=Levels((8,) * len(strides), strides))


def test_too_few_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^widths must be 2 .*got \[16\]"):
        ours.Unet(inputs=Levels((8, 16), (2, 4)), widths=(16,))


def test_a_level_that_is_not_a_power_of_two_suits_pixel() -> None:
    decoder = PixelDecoder(inputs=Levels((8, 8), (14, 14)))
    assert decoder([torch.rand(1, 1, 8, 2, 3)] * 2, (1, 28, 42)).logits.shape == (1, 1, 1, 2, 3)
