"""The fusions against plain computations of what they are to be."""

import re

import pytest
import torch
from torch import Tensor

from davis_exp.models.fusion.aligned import Aligned, Gate
from davis_exp.models.fusion.gated import Gated
from davis_exp.models.fusion.mat import Bridge, MotionAttentiveTransition, Transition
from davis_exp.models.fusion.sum import Sum
from davis_exp.models.levels import Levels

LEVELS = {"appearance": Levels((32, 64), (4, 8)), "motion": Levels((32, 64), (4, 8))}


@pytest.fixture
def maps() -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(0)
    shapes = [(2, 32, 6, 10), (2, 64, 3, 5)]
    return [torch.randn(shape) for shape in shapes], [torch.randn(shape) for shape in shapes]


def test_sum(maps) -> None:
    for merged, a, m in zip(Sum(**LEVELS)(*maps), *maps, strict=True):
        assert torch.equal(merged, a + m)
    assert not list(Sum(**LEVELS).parameters())


@pytest.mark.parametrize("fusion", [Sum, Gated, Aligned])
def test_motion_of_another_width_comes_in_appearances(fusion, maps) -> None:
    appearance, motion = maps
    part = fusion(appearance=Levels((32, 64), (4, 8)), motion=Levels((8, 64), (4, 8)))
    merged = part(appearance, [motion[0][:, :8], motion[1]])
    assert part.levels.channels == (32, 64)
    assert [m.shape for m in merged] == [a.shape for a in appearance]


def test_gated_lies_between_the_streams_and_depends_on_both(maps) -> None:
    part = Gated(**LEVELS)
    for merged, a, m in zip(part(*maps), *maps, strict=True):
        assert (merged <= torch.maximum(a, m) + 1e-6).all()
        assert (merged >= torch.minimum(a, m) - 1e-6).all()
    gates = part.gates[0][:-1]  # before the sigmoid
    pinned = [(50.0, maps[0][0]), (-50.0, maps[1][0])]
    for bias, expected in pinned:
        gates[-1].bias.data.fill_(bias)
        torch.testing.assert_close(part(*maps)[0], expected)


def slow_transition(part: Transition, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """One frame (C, h, w) at a time, a position at a time, from the paper's equations."""
    c, h, w = appearance.shape
    x, y = appearance.reshape(c, -1).T, motion.reshape(len(motion), -1).T  # (positions, channels)

    def linear(conv, rows: Tensor) -> Tensor:
        return rows @ conv.weight.flatten(1).T + conv.bias

    def cascade(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        seen = p * linear(part.attend_appearance, p).softmax(dim=0)
        own = q * linear(part.attend_motion, q).softmax(dim=0)
        keys, queries = linear(part.project_appearance, seen), linear(part.project_motion, own)
        rows = []
        for query in queries:
            row = sum(torch.tanh(key @ query) * value for key, value in zip(keys, seen, strict=True))
            rows.append(row / row.norm())
        return torch.stack(rows), own

    carried, own = cascade(x, y)
    p, q = x, y
    for _ in range(1, part.cascades):
        p, q = (p + carried).relu(), (q + own).relu()
        carried, own = cascade(p, q)
    return (x + carried).relu().T.view(c, h, w), (y + own).relu().T.view(len(motion), h, w)


@pytest.mark.parametrize("cascades", [1, 3])
def test_transition_is_attention_and_co_attention(cascades: int) -> None:
    torch.manual_seed(1)
    part = Transition(32, 48, cascades=cascades, reduction=16).double()
    for conv in part.children():
        conv.weight.data.normal_()  # so that no affinity is small
    appearance, motion = torch.randn(2, 32, 2, 3).double(), torch.randn(2, 48, 2, 3).double()
    results = part(appearance, motion)
    for n in range(2):
        expected = slow_transition(part, appearance[n], motion[n])
        for result, reference in zip(results, expected, strict=True):
            torch.testing.assert_close(result[n], reference)


def test_a_transition_tells_motion_nothing_of_appearance() -> None:
    part = Transition(32, 32, cascades=5, reduction=16)
    appearance, motion = torch.randn(1, 32, 4, 4), torch.randn(1, 32, 4, 4)
    first, second = part(appearance, motion), part(-appearance, motion)
    assert torch.equal(first[1], second[1])
    assert not torch.equal(part(appearance, -motion)[0], first[0])


def test_cascades_share_their_weights() -> None:
    sizes = [
        sum(p.numel() for p in Transition(64, 64, cascades=n, reduction=16).parameters()) for n in (1, 5)
    ]
    assert sizes[0] == sizes[1] == 2 * (64 * 4 + 4) + 2 * (64 + 1)


def test_bridge() -> None:
    torch.manual_seed(0)
    part, x = Bridge(32, squeeze=16).eval(), torch.randn(1, 32, 9, 11)
    e = torch.relu(part.squeeze(x[0].mean(dim=(1, 2))))
    channels = x[0] * torch.sigmoid(part.excite(e)).view(32, 1, 1)
    largest = channels.max(dim=0).values.view(1, 1, 9, 11)
    spatial = torch.conv2d(largest, part.spatial[0].weight, padding=3) / (1 + part.spatial[1].eps) ** 0.5
    expected = x[0] + torch.sigmoid(part.gate(e)) * spatial[0] * channels
    torch.testing.assert_close(part(x)[0], expected)


def test_mat_bridges_both_streams_side_by_side(maps) -> None:
    part = MotionAttentiveTransition(**LEVELS, after=(8,))
    assert part.levels.channels == (64, 128)
    assert [m.shape[1] for m in part(*maps)] == [64, 128]
    fine, coarse = ([stream[i] for stream in maps] for i in (0, 1))
    assert all(
        x is y for x, y in zip(part.transfer(0, *fine), fine, strict=True)
    )  # no transition at stride 4
    assert not torch.equal(part.transfer(1, *coarse)[1], coarse[1])


def test_aligned_streams_share_prototypes_of_appearance(maps) -> None:
    torch.manual_seed(2)
    align = Aligned(**LEVELS).alignments[0].eval()
    appearance, motion = maps[0][0], maps[1][0]
    with torch.no_grad():
        _, second = align(appearance, motion)
        assert not torch.equal(
            align(appearance + 1, motion)[1], second
        )  # appearance steers motion's features
        first, other = align(appearance, appearance)
        torch.testing.assert_close(first, other)  # one set of weights
        # With all weight of the pooling on one position, both prototypes are that position's features.
        align.regions.weight.zero_()
        marked = appearance.clone()
        marked[:, 0, 2, 3] = 1000.0
        align.regions.weight[:, 0] = 1.0
        value = align.value(marked[:, :, 2:3, 3:4]).expand(-1, -1, 6, 10)
        context = align.out(value)
        torch.testing.assert_close(align(marked, motion)[1], align.join(torch.cat([context, motion], dim=1)))


def test_gate_weighs_the_streams_to_twice_their_mean() -> None:
    gate = Gate(16, 4).eval()
    appearance, motion = torch.randn(2, 2, 16, 5, 5).unbind()
    last = gate.whole[-1]
    last.weight.data.zero_()
    expected = {0.0: appearance + motion, 100.0: 2 * appearance, -100.0: 2 * motion}
    gate.local[-1].weight.data.zero_()  # of the batch normalisation
    for bias, result in expected.items():
        last.bias.data.fill_(bias)
        torch.testing.assert_close(gate(appearance, motion), result)


@pytest.mark.parametrize("fusion", [Gated, Aligned, MotionAttentiveTransition])
def test_trains_on_a_single_frame(fusion) -> None:
    levels = Levels((32, 64, 96), (8, 16, 32))
    part = fusion(appearance=levels, motion=levels).train()
    streams = [[torch.randn(1, c, s, s) for c, s in ((32, 4), (64, 2), (96, 2))] for _ in range(2)]
    merged = part(*streams)
    sum(level.square().mean() for level in merged).backward()
    assert all(torch.isfinite(level).all() for level in merged)


@pytest.mark.parametrize(
    ("fusion", "options", "message"),
    [
        (Gated, {"reduction": 0}, "reduction must be at least 1, got 0"),
        (Aligned, {"width": 0}, "width must be at least 1, got 0"),
        (MotionAttentiveTransition, {"after": (8,), "cascades": 0}, "cascades must be at least 1, got 0"),
        (
            MotionAttentiveTransition,
            {"after": (16,)},
            "after must be strides of (4, 8), the streams' levels, got [16]",
        ),
        (
            MotionAttentiveTransition,
            {"after": ()},
            "after must be strides of (4, 8), the streams' levels, got []",
        ),
    ],
)
def test_what_cannot_be_is_refused(fusion, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        fusion(**LEVELS, **options)
