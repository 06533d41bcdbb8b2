"""Lite R-ASPP, against torchvision's whole model with the same weights."""

import pytest
import torch
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from davis_exp import budget
from davis_exp.models.decoders.lraspp import LRASPP
from davis_exp.models.levels import Levels

LEVELS = Levels((16, 24, 40, 960), (2, 4, 8, 16))


def test_the_same_logits_as_torchvision():
    torch.manual_seed(0)
    reference = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=1).eval()
    decoder = LRASPP(inputs=LEVELS).eval()
    decoder.head.load_state_dict(reference.classifier.state_dict())
    frames = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        maps = reference.backbone(frames)
        features = [torch.empty(0), torch.empty(0), maps["low"][None], maps["high"][None]]  # it looks at two
        logits = decoder(features, (2, 64, 96)).logits[0]
        expected = reference.classifier(maps)
    assert logits.shape == (2, 1, 8, 12)
    torch.testing.assert_close(logits, expected)


def test_the_finer_level_can_be_chosen():
    decoder = LRASPP(inputs=LEVELS, stride=4, width=8).eval()
    features = [
        torch.rand(1, 2, c, 64 // s, 96 // s) for c, s in zip(LEVELS.channels, LEVELS.strides, strict=True)
    ]
    with torch.no_grad():
        assert decoder(features, (2, 64, 96)).logits.shape == (1, 2, 1, 16, 24)
    assert budget.count(decoder)[0].parameters == 2 * 960 * 8 + 2 * 8 + (24 + 1) + (8 + 1)


@pytest.mark.parametrize(
    ("strides", "stride"), [((2, 4, 16), 8), ((2, 4, 8), 8), ((8,), 8), ((2, 4, 8, 16), 16), ((2, 4), 3)]
)
def test_levels_without_the_two_are_refused(strides, stride):
    with pytest.raises(
        ValueError, match=rf"^LRASPP needs a level at stride {stride} and a coarser one, .*pixel decoder"
    ):
        LRASPP(inputs=Levels((8,) * len(strides), strides), stride=stride)


@pytest.mark.parametrize("options", [{"width": 0}, {"stride": -8}])
def test_what_is_below_1_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LRASPP(inputs=LEVELS, **options)
