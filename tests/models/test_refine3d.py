"""3DC-Seg's decoder: its published sizes, and what it does with levels of any number and length."""

import pytest
import torch
import torch.nn.functional as F

from davis_exp.budget import count, empty_weights, measure
from davis_exp.models.decoders.refine3d import Refine3d, Refinement, full
from davis_exp.models.encoders.csn import CSN
from davis_exp.models.encoders.pixel import PixelEncoder
from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.models.temporal.conv_gru import ConvGRU
from davis_exp.models.temporal.none import NoTemporal

CSN_LEVELS = Levels((256, 512, 1024, 2048), (4, 8, 16, 32), (1, 2, 4, 8))
SMALL = Levels((3, 4, 5), (4, 8, 16), (1, 2, 4))


def features(levels: Levels, frames: int = 8, size: int = 32, dtype=torch.float32) -> list[torch.Tensor]:
    given = zip(levels.channels, levels.strides, levels.temporal_strides, strict=True)
    return [torch.randn(1, frames // t, c, size // s, size // s, dtype=dtype) for c, s, t in given]


@pytest.mark.parametrize(("light", "published"), [(False, 45.5e6), (True, 13.2e6)])
def test_has_the_published_size(light: bool, published: float) -> None:
    with empty_weights():
        decoder = Refine3d(inputs=CSN_LEVELS, light=light)
    assert count(decoder)[0].parameters == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    ("depth", "light", "published"),
    [(152, False, 74.3e6), (152, True, 42.1e6), (50, True, 25.5e6)],
)
def test_3dc_seg_has_the_published_size(depth: int, light: bool, published: float) -> None:
    with empty_weights():
        model = VideoSegmenter(CSN(depth), NoTemporal, lambda **given: Refine3d(**given, light=light))
    cost = measure(model, size=(32, 32), window=8, step=5)
    assert cost.parameters == pytest.approx(published, rel=0.01)
    assert cost.flops


def test_refines_by_the_published_equations() -> None:
    torch.manual_seed(0)
    part = Refinement(4, 6, full)
    skip, previous = torch.randn(1, 4, 4, 8, 8), torch.randn(1, 6, 2, 4, 4)
    state = part.state_dict()

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.conv3d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    s = conv("enter", skip)
    s = s + conv("skip_residual.3", conv("skip_residual.1", s.relu()).relu())
    m = s + F.interpolate(previous, (4, 8, 8), mode="trilinear", align_corners=False)
    m = m + conv("merged_residual.3", conv("merged_residual.1", m.relu()).relu())
    torch.testing.assert_close(part(skip, previous), m)


@pytest.mark.parametrize("light", [False, True])
def test_every_parameter_and_every_level_is_used(light: bool) -> None:
    torch.manual_seed(0)
    decoder = Refine3d(inputs=SMALL, width=8, light=light)
    given = [level.requires_grad_() for level in features(SMALL)]
    logits = decoder(given, (8, 32, 32)).logits
    assert logits.shape == (1, 8, 1, 8, 8)
    logits.square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad.abs().max() > 0, name
    assert all(level.grad.abs().max() > 0 for level in given)


@pytest.mark.parametrize("temporal_strides", [(1, 1, 1), (1, 2, 4), (2, 2, 4)])
def test_context_is_how_far_it_looks(temporal_strides: tuple[int, ...]) -> None:
    """By gradients of one frame's logits; where levels are shortened, the declared context is a bound."""
    torch.manual_seed(0)
    levels = Levels(SMALL.channels, SMALL.strides, temporal_strides)
    decoder = Refine3d(inputs=levels, width=8).double()
    past, future = decoder.context
    length = -(-(past + future + 9) // 8) * 8
    given = [level.requires_grad_() for level in features(levels, length, 16, torch.float64)]
    middle = length // 2
    decoder(given, (length, 16, 16)).logits[:, middle].square().sum().backward()
    reached = []
    for level, stride in zip(given, temporal_strides, strict=True):
        steps = level.grad.abs().amax(dim=(0, 2, 3, 4)).nonzero().flatten() * stride
        reached += [int(steps.min()), int(steps.max()) + stride - 1]
    looked = middle - min(reached), max(reached) - middle
    assert max(looked) <= past == future
    if temporal_strides == (1, 1, 1):
        assert looked == (past, future)
        assert past == 5 + 2 + 1  # the coarser skip's convolutions, the finer's, and the head
    else:
        assert max(looked) > past / 2  # not an empty one


@pytest.mark.parametrize("frames", [1, 5, 8, 9])
def test_any_number_of_frames_of_any_size(frames: int) -> None:
    torch.manual_seed(0)
    model = VideoSegmenter(CSN(50), NoTemporal, lambda **given: Refine3d(**given, width=8, light=True)).eval()
    assert model.context[0] > 60
    with torch.no_grad():
        logits = model(torch.rand(1, frames, 3, 33, 47))[0].logits
    assert logits.shape == (1, frames, 1, 33, 47)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


def test_levels_finer_than_stride_4_are_left_out() -> None:
    levels = Levels((2, *SMALL.channels), (2, 4, 8, 16))
    decoder = Refine3d(inputs=levels, width=4)
    given = [level.requires_grad_() for level in features(levels, 2)]
    logits = decoder(given, (2, 32, 32)).logits
    assert logits.shape == (1, 2, 1, 8, 8)
    logits.sum().backward()
    assert given[0].grad is None
    assert given[1].grad is not None


@pytest.mark.parametrize("strides", [(1,), (2, 4), (2,), (32,)])
def test_too_few_levels_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Refine3d needs at least two levels .*or another encoder"):
        Refine3d(inputs=Levels((8,) * len(strides), strides))


def test_beside_a_part_with_state_it_is_refused() -> None:
    class Pyramid(PixelEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.levels = Levels((3, 3), (4, 8))

    with pytest.raises(ValueError, match=r"temporal carries state .* decoder looks at .*without state"):
        VideoSegmenter(Pyramid(), ConvGRU, Refine3d)
