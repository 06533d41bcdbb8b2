"""TMO's decoder: its attention against a plain computation, and its shapes."""

import pytest
import torch

from davis_exp.models.decoders.cbam import CBAM, CBAMDecoder
from davis_exp.models.levels import Levels

LEVELS = Levels((8, 16, 24), (4, 8, 16), (1, 1, 2))


def features(t: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    levels = zip(LEVELS.channels, LEVELS.strides, LEVELS.temporal_strides, strict=True)
    return [torch.randn(2, t // step, c, 48 // s, 64 // s) for c, s, step in levels]


def test_attention() -> None:
    torch.manual_seed(0)
    part, x = CBAM(6), torch.randn(1, 6, 7, 9)
    y = part.conv(x)[0]

    def mlp(v: torch.Tensor) -> torch.Tensor:
        first, _, second = part.channel
        return second.weight.flatten(1) @ (first.weight.flatten(1) @ v + first.bias).relu() + second.bias

    channel = torch.sigmoid(mlp(y.mean(dim=(1, 2))) + mlp(y.amax(dim=(1, 2))))
    y = y * channel[:, None, None]
    summary = torch.stack([y.mean(dim=0), y.max(dim=0).values])[None]
    torch.testing.assert_close(part(x)[0], y * torch.sigmoid(part.spatial(summary))[0])


def test_logits_are_at_the_finest_level() -> None:
    decoder = CBAMDecoder(inputs=LEVELS, width=16)
    prediction = decoder(features(4), (4, 48, 64))
    assert prediction.logits.shape == (2, 4, 1, 12, 16)
    assert prediction.aux == {}
    prediction.logits.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_every_level_counts() -> None:
    decoder, levels = CBAMDecoder(inputs=LEVELS, width=16), features(4)
    reference = decoder(levels, (4, 48, 64)).logits
    for i in range(3):
        changed = [level + (i == j) for j, level in enumerate(levels)]
        assert not torch.equal(decoder(changed, (4, 48, 64)).logits, reference)


def test_one_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"CBAMDecoder needs at least two levels, .*\(1,\)"):
        CBAMDecoder(inputs=Levels((3,), (1,)))
