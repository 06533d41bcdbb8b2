"""MATNet's decoder: boundaries as auxiliary heads and as features, and the convolutions around them."""

import pytest
import torch
import torch.nn.functional as F

from davis_exp.models.decoders.boundary import BoundaryDecoder, GlobalContext, Pyramid
from davis_exp.models.levels import Levels
from davis_exp.models.losses import BoundaryBCE

LEVELS = Levels((8, 16, 24), (4, 8, 16))


def features(n: int = 2, t: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(0)
    pairs = zip(LEVELS.channels, LEVELS.strides, strict=True)
    return [torch.randn(n, t, c, 48 // s, 64 // s) for c, s in pairs]


def test_a_boundary_per_level_and_their_fusion() -> None:
    decoder = BoundaryDecoder(inputs=LEVELS, width=16).eval()
    prediction = decoder(features(), (3, 48, 64))
    assert set(prediction.aux) == {"boundary", "boundary_0", "boundary_1", "boundary_2"}
    for logits in (prediction.logits, *prediction.aux.values()):
        assert logits.shape == (2, 3, 1, 12, 16)
    levels = [prediction.aux[f"boundary_{i}"].flatten(0, 1) for i in range(3)]
    fused = prediction.aux["boundary"].flatten(0, 1)
    torch.testing.assert_close(decoder.fuse(torch.cat(levels, dim=1)), fused)
    finest = decoder.boundaries[0](features()[0].flatten(0, 1))
    torch.testing.assert_close(levels[0], finest)


def test_boundaries_shape_the_mask() -> None:
    decoder = BoundaryDecoder(inputs=LEVELS, width=16).eval()
    before = decoder(features(), (3, 48, 64)).logits
    for head in decoder.boundaries:
        bias = head[-1].bias.data.clone()
        head[-1].bias.data.fill_(3.0)
        assert not torch.equal(decoder(features(), (3, 48, 64)).logits, before)
        head[-1].bias.data.copy_(bias)


def test_every_parameter_learns_even_from_one_frame() -> None:
    decoder = BoundaryDecoder(inputs=LEVELS, width=16).train()
    prediction = decoder(features(1, 1), (1, 48, 64))
    masks = torch.zeros(1, 1, 1, 12, 16)
    masks[..., 3:8, 4:9] = 1
    BoundaryBCE()(prediction, masks).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_context_reaches_seven_by_seven() -> None:
    part = GlobalContext(1, 4)
    x = torch.zeros(1, 1, 21, 21)
    moved = x.clone()
    moved[..., 10, 10] = 1.0
    reach = (part.left(moved) + part.right(moved) - part.left(x) - part.right(x)).abs().sum(dim=1)[0] > 1e-6
    assert reach.nonzero().min(dim=0).values.tolist() == [7, 7]
    assert reach.nonzero().max(dim=0).values.tolist() == [13, 13]


def test_pyramid_is_one_kernel_at_three_dilations() -> None:
    torch.manual_seed(0)
    part, x = Pyramid(5, 16).eval(), torch.randn(2, 5, 20, 20)
    weight, bias = part.kernel.weight, part.kernel.bias
    by_hand = [part.point(x)]
    for rate in (3, 5, 7):
        spread = torch.zeros(4, 5, 2 * rate + 1, 2 * rate + 1)
        spread[..., ::rate, ::rate] = weight.detach()
        by_hand.append(F.conv2d(x, spread, bias, padding=rate))
    expected = torch.cat(by_hand, dim=1) / (1 + part.norm.eps) ** 0.5
    torch.testing.assert_close(part(x), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": Levels((3,), (1,))}, r"BoundaryDecoder needs .*\(1,\)"),
        ({"inputs": LEVELS, "width": 30}, r"^width must be a multiple of 4, and at least 4, got 30$"),
    ],
)
def test_refusals(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoundaryDecoder(**options)
