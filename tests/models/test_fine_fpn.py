"""The Panoptic FPN that goes on to finer levels, against smp's for what it has in common with it."""

import pytest
import torch
import torch.nn.functional as F

from davis_exp.models.decoders.fine_fpn import FineFPN
from davis_exp.models.decoders.smp import FPN
from davis_exp.models.levels import Levels

LEVELS = Levels((4, 6, 8, 10, 12, 14), (1, 2, 4, 8, 16, 32))


def features(levels: Levels = LEVELS, frames: int = 2) -> list[torch.Tensor]:
    return [
        torch.rand(1, frames, c, 64 // s, 96 // s)
        for c, s in zip(levels.channels, levels.strides, strict=True)
    ]


@pytest.mark.parametrize("first", [0, 1])
def test_logits_are_as_fine_as_the_finest_level(first):
    levels = Levels(LEVELS.channels[first:], LEVELS.strides[first:])
    decoder = FineFPN(inputs=levels, pyramid=16, width=32, fine=8).eval()
    assert len(decoder.refinements) == 2 - first
    with torch.no_grad():
        logits = decoder(features(levels), (2, 64, 96)).logits
    assert logits.shape == (1, 2, 1, 64 >> first, 96 >> first)


def test_a_refinement_that_adds_nothing_enlarges_what_fpn_says():
    """Weights set by hand: one channel carries FPN's logits past the finer level, whose own part is zero."""
    torch.manual_seed(0)
    levels = Levels(LEVELS.channels[1:], LEVELS.strides[1:])
    plain = FPN(inputs=levels, pyramid=16, width=32).eval()
    decoder = FineFPN(inputs=levels, pyramid=16, width=32, fine=1).eval()
    decoder.decoder.load_state_dict(plain.decoder.state_dict())
    (refine,) = decoder.refinements
    with torch.no_grad():
        refine.level.weight.zero_()
        refine.before.weight.copy_(plain.head.weight)
        for convolution in (refine.refine[0], refine.refine[3]):
            convolution.weight.zero_()
            convolution.weight[0, 0, 1, 1] = 1
        decoder.head.weight.fill_(1)
        decoder.head.bias.zero_()
        maps = features(levels)
        expected = plain(maps, (2, 64, 96)).logits - plain.head.bias
        expected = F.relu(F.interpolate(expected[0], (32, 48), mode="bilinear"))
        # each of three batch norms divides by sqrt(1 + 1e-5)
        torch.testing.assert_close(decoder(maps, (2, 64, 96)).logits[0], expected, rtol=1e-4, atol=1e-4)


def test_the_finest_level_matters():
    decoder = FineFPN(inputs=LEVELS, pyramid=16, width=32, fine=8)
    maps = [level.requires_grad_() for level in features()]
    decoder(maps, (2, 64, 96)).logits.sum().backward()
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in maps)


def test_levels_with_nothing_finer_are_refused():
    with pytest.raises(
        ValueError, match=r"^FineFPN needs a level finer than four others \(encoder.finest=2\)"
    ):
        FineFPN(inputs=Levels((8,) * 4, (4, 8, 16, 32)))
    with pytest.raises(ValueError, match="at least 4 levels"):
        FineFPN(inputs=Levels((8,) * 3, (4, 8, 16)))
    with pytest.raises(ValueError, match="fine"):
        FineFPN(inputs=LEVELS, fine=0)
