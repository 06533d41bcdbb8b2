import logging

import pytest
import torch
from torchvision import utils

from davis_exp import budget
from davis_exp.models.flow import raft
from davis_exp.models.flow.colours import MIN_SPEED, colour_wheel, flow_to_image
from davis_exp.models.flow.raft import RaftSmall


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return RaftSmall(updates=2)


class Brightening(torch.nn.Module):
    """In place of RAFT: motion to the right by as much as the second image is brighter than the first."""

    def forward(self, one, two, num_flow_updates):
        assert min(one.shape[-2:]) >= 128
        assert one.shape[-1] % 8 == one.shape[-2] % 8 == 0
        assert one.abs().max() <= 1
        u = (two - one).mean(1, keepdim=True)
        return [u, torch.cat([u, torch.zeros_like(u)], 1)]


def brightening(direction, t=4):
    """Pictures that a `Brightening` paints of frames that grow brighter: red is to the right."""
    flow = RaftSmall(direction=direction)
    flow.net = Brightening()
    frames = torch.arange(t).view(1, t, 1, 1, 1).expand(2, t, 3, 50, 70) / t
    return flow(frames)


# ---- colours ----------------------------------------------------------------------------------------


def colour(u, v):
    vectors = torch.zeros(2, 1, 2)
    vectors[:, 0, 0] = torch.tensor([u, v])
    return [round(x, 3) for x in flow_to_image(vectors)[:, 0, 0].tolist()]


def test_the_wheel_is_middleburys():
    assert colour_wheel().shape == (55, 3)
    steps = (colour_wheel().roll(-1, 0) - colour_wheel()).abs().sum(1)  # even from corner to corner
    assert torch.allclose(steps[:15], torch.full((15,), 1 / 15))
    corners = [0, 15, 21, 25, 36, 49]
    names = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]]
    assert colour_wheel()[corners].tolist() == names
    assert 0 <= colour_wheel().min() <= colour_wheel().max() <= 1


def test_direction_is_hue_and_rest_is_white():
    assert colour(5, 0) == [1, 0, 0]
    assert colour(0, 0) == [1, 1, 1]
    assert colour(0, 5) == [1, 0.9, 0]  # down: 13.5 of the 15 steps from red to yellow
    assert colour(-5, 0) == [0, round(1 - 2 / 11, 3), 1]  # 27: two of the eleven from cyan to blue
    assert colour(0, -5) == [round(4.5 / 13, 3), 0, 1]  # 40.5: 4.5 of the 13 from blue to magenta


def test_negative_zero_is_zero():
    assert colour(5, -0.0) == colour(5, 0.0) == [1, 0, 0]
    assert colour(-5, -0.0) == colour(-5, 0.0)


def test_agrees_with_torchvision():
    vectors = torch.randn(4, 2, 30, 40, generator=torch.Generator().manual_seed(0)) * 5
    reference = torch.stack([utils.flow_to_image(field) for field in vectors]).float() / 255
    assert (
        flow_to_image(vectors) - reference
    ).abs().max() < 2 / 255  # it rounds down, its wheel's colours too


def test_speed_is_saturation_relative_to_the_fastest():
    vectors = torch.zeros(2, 2, 4, 4)
    vectors[0, 0, 0, 0], vectors[0, 0, 1, 1] = 8.0, 2.0
    vectors[1, 0, 0, 0] = 1.0
    picture = flow_to_image(vectors)
    assert picture[0, :, 0, 0].tolist() == [1, 0, 0]
    assert picture[0, :, 1, 1].tolist() == [1, 0.75, 0.75]
    assert picture[1, :, 0, 0].tolist() == [1, 0, 0], "each picture by itself"
    assert torch.allclose(flow_to_image(vectors * 7), picture)


def test_motion_that_is_mostly_noise_is_pale():
    noise = torch.randn(2, 40, 100, generator=torch.Generator().manual_seed(0)) * 0.01
    assert flow_to_image(noise).min() > 0.7
    just = torch.full((1, 40, 100), MIN_SPEED * 100)
    assert torch.allclose(
        flow_to_image(torch.cat([just, torch.zeros_like(just)]))[:, 0, 0], torch.tensor([1.0, 0, 0])
    )


def test_all_vectors_give_colours():
    vectors = torch.randn(3, 4, 2, 16, 24, generator=torch.Generator().manual_seed(1)) * 10
    picture = flow_to_image(vectors)
    assert picture.shape == (3, 4, 3, 16, 24)
    assert 0 <= picture.min() <= picture.max() <= 1
    around = torch.linspace(-torch.pi, torch.pi, 1000)
    ring = flow_to_image(torch.stack([around.cos(), around.sin()])[:, None])
    assert (ring[..., 1:] - ring[..., :-1]).abs().max() < 0.2, "no jumps around the circle"


# ---- RAFT -------------------------------------------------------------------------------------------


def test_counts_as_published():
    with budget.empty_weights():
        assert budget.count(RaftSmall())[0].parameters == 990_162


@pytest.mark.parametrize(("size", "t"), [((40, 56), 2), ((130, 150), 3)])
def test_any_size_will_do(net, size, t):
    frames = torch.rand(2, t, 3, *size)
    pictures = net(frames)
    assert pictures.shape == frames.shape
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_one_frame_is_its_own_motion(net):
    frames = torch.rand(2, 1, 3, 40, 56)
    assert torch.equal(net(frames), frames)


@pytest.mark.parametrize(("direction", "channel"), [("forward", 0), ("backward", 2)])
def test_every_frame_looks_the_same_way(direction, channel):
    """Forward flow sees it grow brighter, backward flow darker; the one at the end negates what it sees."""
    pictures = brightening(direction)
    assert torch.allclose(pictures[:, :, channel], torch.ones(()))
    assert pictures[:, :, 2 - channel].max() < 1e-3


@pytest.mark.parametrize(("direction", "context"), [("forward", (0, 1)), ("backward", (1, 0))])
def test_context_is_what_it_looks_at(direction, context):
    flow = RaftSmall(direction=direction, updates=1)
    assert flow.context == context
    frames = torch.rand(1, 4, 3, 128, 128)
    changed = frames.clone()
    changed[:, 1] = torch.rand(1, 3, 128, 128)
    differ = (flow(frames) != flow(changed)).flatten(2).any(2)[0].tolist()
    past, future = context
    # frame 0 has none before it, and looks at the next (backward)
    assert differ == [True, True, bool(past), False]
    assert future in (0, 1)


def test_pairs_do_not_depend_on_how_many_go_at_once(net, monkeypatch):
    frames = torch.rand(2, 3, 3, 128, 136)
    together = net(frames)
    monkeypatch.setattr(raft, "MAX_CORRELATIONS", 1)
    assert torch.allclose(net(frames), together, atol=1e-4)


def test_it_is_never_trained(net):
    assert not net.train().training
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    frames = torch.rand(1, 2, 3, 40, 56, requires_grad=True)
    assert not net(frames).requires_grad


def test_weights_come_from_a_file_and_their_absence_is_said(net, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        RaftSmall().load_weights()
    assert "without weights" in caplog.records[0].getMessage()
    file = tmp_path / "raft.pth"
    torch.save(net.net.state_dict(), file)
    other = RaftSmall(weights=str(file))
    other.load_weights()
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), net.parameters(), strict=True))
    torch.save({"x": torch.ones(1)}, file)
    with pytest.raises(ValueError, match=r"^weights=.*raft\.pth"):
        other.load_weights()
    with pytest.raises(ValueError, match=r"^weights=C_T_V9: cannot load"):
        RaftSmall(weights="C_T_V9").load_weights()


@pytest.mark.parametrize(("key", "value"), [("direction", "sideways"), ("updates", 0)])
def test_impossible_settings_name_their_key(key, value):
    with pytest.raises(ValueError, match=f"^{key} must be "):
        RaftSmall(**{key: value})
