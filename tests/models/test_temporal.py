"""The temporal parts, against the equations they implement."""

import pytest
import torch
import torch.nn.functional as F

from davis_exp.models.levels import Levels
from davis_exp.models.temporal.conv_gru import ConvGRU
from davis_exp.models.temporal.none import NoTemporal

LEVELS = Levels((4, 6), (2, 4))


def features() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, 4, 8, 8), torch.randn(2, 3, 6, 4, 4)]


def test_none_passes_features_on() -> None:
    part = NoTemporal(inputs=LEVELS)
    given = features()
    out, state = part(given, part.initial_state(given))
    assert out is given
    assert state == ()
    assert (part.levels, part.context) == (LEVELS, (0, 0))


def test_conv_gru_follows_the_equations() -> None:
    """One step written out with the convolution of [input, hidden] that the paper has."""
    part = ConvGRU(inputs=LEVELS, width=5)
    cell = part.cells[0]
    x = cell.project(features()[1][:, 0])
    h = torch.randn(2, 5, 4, 4)

    def convolve(rows: slice, hidden_weight: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        weight = torch.cat([cell.inputs.weight[rows], hidden_weight], dim=1)
        return F.conv2d(torch.cat([x, hidden], dim=1), weight, cell.inputs.bias[rows], padding=1)

    update = convolve(slice(0, 5), cell.gates.weight[:5], h).sigmoid()
    reset = convolve(slice(5, 10), cell.gates.weight[5:], h).sigmoid()
    candidate = convolve(slice(10, 15), cell.candidate.weight, reset * h).tanh()
    expected = (1 - update) * h + update * candidate
    out, (state,) = part([features()[0][:, :1], features()[1][:, :1]], (h,))
    torch.testing.assert_close(out[1][:, 0], expected, atol=1e-5, rtol=0)
    assert torch.equal(out[1][:, -1], state)


def test_conv_gru_projects_before_it_remembers() -> None:
    wide = LEVELS.with_channels((4, 960))
    parameters = sum(p.numel() for p in ConvGRU(inputs=wide, width=128).parameters())
    assert parameters == 960 * 128 + 128 + (128 * 384 * 9 + 384) + 128 * 256 * 9 + 128 * 128 * 9
    assert parameters < 1_010_000


def test_conv_gru_works_on_the_levels_asked_for() -> None:
    part = ConvGRU(inputs=LEVELS, width=5, levels=(0, -1))
    assert part.levels.channels == (5, 5)
    given = features()
    state = part.initial_state(given)
    assert [tuple(s.shape) for s in state] == [(2, 5, 8, 8), (2, 5, 4, 4)]
    out, after = part(given, state)
    assert [tuple(f.shape) for f in out] == [(2, 3, 5, 8, 8), (2, 3, 5, 4, 4)]
    assert [s.shape for s in after] == [s.shape for s in state]

    coarsest = ConvGRU(inputs=LEVELS, width=5)
    assert coarsest.levels.channels == (4, 5)
    out, _ = coarsest(given, coarsest.initial_state(given))
    assert out[0] is given[0]


@pytest.mark.parametrize("options", [{"levels": (2,)}, {"levels": ()}, {"kernel": 4}, {"width": 0}])
def test_conv_gru_refuses(options: dict) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(options))} must be "):
        ConvGRU(inputs=LEVELS, **options)
