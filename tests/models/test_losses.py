"""Losses against their definitions, and on the masks that break naive ones."""

import math

import pytest
import torch
from torch import Tensor

from davis_exp.models.losses import (
    BCE,
    BCEDice,
    Bootstrapped,
    BoundaryBCE,
    Dice,
    Focal,
    Jaccard,
    Lovasz,
    boundary,
    edge_strength,
)
from davis_exp.models.segmenter import Prediction

ALL = [BCE, BCEDice, Bootstrapped, BoundaryBCE, Dice, Focal, Jaccard, Lovasz]


@pytest.fixture
def logits() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 1, 8, 10)


@pytest.fixture
def masks() -> Tensor:
    torch.manual_seed(1)
    return (torch.rand(2, 3, 1, 8, 10) > 0.7).byte()


def per_frame(logits: Tensor, masks: Tensor) -> zip:
    return zip(logits.flatten(0, 1).flatten(1), masks.flatten(0, 1).flatten(1).float(), strict=True)


def test_bce(logits: Tensor, masks: Tensor) -> None:
    p, y = logits.sigmoid(), masks.float()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(BCE()(Prediction(logits), masks), expected)


def test_dice_and_jaccard_are_means_over_frames(logits: Tensor, masks: Tensor) -> None:
    dice, jaccard = [], []
    for x, y in per_frame(logits, masks):
        p = x.sigmoid()
        both = torch.minimum(p, y).sum()
        dice.append(1 - 2 * both / (p.sum() + y.sum()))
        jaccard.append(1 - both / (p.sum() + y.sum() - both))
    torch.testing.assert_close(Dice()(Prediction(logits), masks), torch.stack(dice).mean())
    torch.testing.assert_close(Jaccard()(Prediction(logits), masks), torch.stack(jaccard).mean())


def test_bce_dice_is_their_weighted_sum(logits: Tensor, masks: Tensor) -> None:
    prediction = Prediction(logits)
    expected = BCE()(prediction, masks) + 0.5 * Dice()(prediction, masks)
    torch.testing.assert_close(BCEDice(dice_weight=0.5)(prediction, masks), expected)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal(logits: Tensor, masks: Tensor, alpha: float | None) -> None:
    p, y = logits.sigmoid(), masks.float()
    right = torch.where(y > 0, p, 1 - p)
    weight = 1 if alpha is None else torch.where(y > 0, alpha, 1 - alpha)
    expected = -(weight * (1 - right) ** 3 * right.log()).mean()
    torch.testing.assert_close(Focal(gamma=3, alpha=alpha)(Prediction(logits), masks), expected)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss(masks: Tensor) -> None:
    """With margins of exactly ±1, hinge errors are 2 or 0, and the extension is linear in them."""
    torch.manual_seed(2)
    predicted = (torch.rand(masks.shape) > 0.6).float()
    losses = [2 * (1 - (x * y).sum() / torch.maximum(x, y).sum()) for x, y in per_frame(predicted, masks)]
    loss = Lovasz()(Prediction(2 * predicted - 1), masks)
    torch.testing.assert_close(loss, torch.stack(losses).mean())


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("fill", [0, 1])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_finite_on_uniform_masks(logits: Tensor, loss, fill: int, scale: float) -> None:
    x = (scale * logits).requires_grad_()
    value = loss()(Prediction(x), torch.full(logits.shape, fill, dtype=torch.uint8))
    value.backward()
    assert value.shape == ()
    assert torch.isfinite(value)
    assert value >= 0
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("loss", ALL)
def test_a_right_prediction_costs_less_than_a_wrong_one(loss, masks: Tensor) -> None:
    right = 20 * (2 * masks.float() - 1)
    assert loss()(Prediction(right), masks) < 1e-3
    assert loss()(Prediction(-right), masks) > 0.5


@pytest.mark.parametrize("loss", ALL)
def test_takes_cropped_half_precision_logits(loss, logits: Tensor, masks: Tensor) -> None:
    cropped = torch.zeros(2, 4, 1, 10, 12)
    cropped[:, :3, :, :8, :10] = logits
    view = cropped.bfloat16()[:, :3, :, :8, :10]
    value = loss()(Prediction(view), masks)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss()(Prediction(logits), masks), rtol=0.02, atol=0.02)


def test_auxiliary_heads_count_with_their_weight(logits: Tensor, masks: Tensor) -> None:
    prediction = Prediction(logits, {"coarse": -logits, "fine": 2 * logits})
    one = BCE()
    expected = one(Prediction(logits), masks) + 0.3 * (
        one(Prediction(-logits), masks) + one(Prediction(2 * logits), masks)
    )
    torch.testing.assert_close(BCE(aux_weight=0.3)(prediction, masks), expected)


def test_logits_of_another_size_are_refused(logits: Tensor, masks: Tensor) -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(2, 3, 1, 4, 10\)"):
        BCE()(Prediction(logits[..., :4, :]), masks)


def test_boundary_heads_are_held_against_the_boundary(logits: Tensor) -> None:
    masks = torch.zeros(2, 3, 1, 8, 10)
    masks[..., 2:6, 3:8] = 1
    edges = masks.clone()
    edges[..., 1:7, 2:9] = 1  # a pixel around it …
    edges[..., 3:5, 4:7] = 0  # … and the outermost of its own
    one = BCE(aux_weight=1.0)
    torch.testing.assert_close(boundary(masks.flatten(0, 1)), edges.flatten(0, 1))
    expected = sum(one(Prediction(x), y) for x, y in [(logits, masks), (2 * logits, edges), (-logits, masks)])
    heads = {"boundary_0": 2 * logits, "coarse": -logits}
    torch.testing.assert_close(one(Prediction(logits, heads), masks), expected)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_uniform_mask_has_no_boundary(fill: float) -> None:
    assert not boundary(torch.full((1, 1, 6, 6), fill)).any()


def test_bootstrapped_is_the_mean_of_the_hardest_quarter(logits: Tensor, masks: Tensor) -> None:
    expected = []
    for x, y in per_frame(logits, masks):
        losses = sorted(
            (torch.nn.functional.softplus(-x if t else x).item() for x, t in zip(x, y, strict=True))
        )
        expected.append(sum(losses[-20:]) / 20)  # of 80
    value = Bootstrapped()(Prediction(logits), masks)
    assert value.item() == pytest.approx(sum(expected) / 6, rel=1e-5)
    torch.testing.assert_close(Bootstrapped(1.0)(Prediction(logits), masks), BCE()(Prediction(logits), masks))


def test_bootstrapped_teaches_only_the_hard_pixels() -> None:
    logits = torch.tensor([5.0, 4.0, 3.0, -2.0, 5.0, 5.0, 5.0, 1.0]).view(1, 1, 1, 2, 4).requires_grad_()
    Bootstrapped()(Prediction(logits), torch.ones(1, 1, 1, 2, 4)).backward()
    assert (logits.grad.flatten() < 0).nonzero().flatten().tolist() == [3, 7]


def scene() -> tuple[Tensor, Tensor]:
    """Frames (1, 1, 3, 16, 24) of two equal steps in grey, at columns 6 and 18; the mask ends at the first."""
    frames = torch.full((1, 1, 3, 16, 24), 0.5)
    frames[..., :6] = 1.0
    frames[..., 18:] = 0.0
    masks = torch.zeros(1, 1, 1, 16, 24)
    masks[..., :6] = 1
    return frames, masks


def test_strength_of_edges() -> None:
    frames, _ = scene()
    steps = edge_strength(frames[0])[0, 0]
    assert steps[:, [5, 6, 17, 18]].eq(1).all()  # on either side of a step
    assert steps.sum() == 4 * 16
    assert edge_strength(torch.full((1, 3, 5, 5), 0.7)).max() < 1e-4  # of rounding, not blown up
    faint = frames[0] * torch.tensor([1.0] * 12 + [0.5] * 12)  # halves the second step, and makes one of ¼
    assert edge_strength(faint)[0, 0, 3, [6, 12, 18]].tolist() == pytest.approx([1.0, 0.5, 0.5])


def test_hard_negatives_weigh_more() -> None:
    frames, masks = scene()
    logits = torch.zeros(masks.shape)
    weights = torch.ones(16, 24)
    weights[:, 17:19] = 2.0  # the step away from the object; the one at its boundary is none
    expected = math.log(2) * weights.mean()
    torch.testing.assert_close(BoundaryBCE()(Prediction(logits), masks, frames), expected)
    assert BoundaryBCE()(Prediction(logits), masks).item() == pytest.approx(math.log(2))
    aux = {"boundary": logits}
    both = BoundaryBCE(aux_weight=0.2)(Prediction(logits, aux), masks, frames)
    torch.testing.assert_close(both, 1.2 * expected)


def test_margin_edge_and_boundary_weight() -> None:
    frames, masks = scene()
    prediction = Prediction(torch.zeros(masks.shape))

    def mean_weight(**options: float) -> float:
        return BoundaryBCE(**options)(prediction, masks, frames).item() / math.log(2)

    assert mean_weight(margin=0) == pytest.approx(1 + 3 / 24)  # column 6 is an edge outside the mask
    assert mean_weight(margin=11) == pytest.approx(1 + 2 / 24)
    assert mean_weight(margin=12) == pytest.approx(1 + 1 / 24)
    assert mean_weight(boundary_weight=3.0) == pytest.approx(1 + 2 / 24 + 3 * 2 / 24)
    frames[..., 18:] = 0.4
    assert mean_weight(edge=0.3) == pytest.approx(1.0)
    assert mean_weight(edge=0.1) == pytest.approx(1 + 0.2 * 2 / 24)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: Bootstrapped(0), lambda: Bootstrapped(1.5)),
        *(lambda: BoundaryBCE(edge=0), lambda: BoundaryBCE(margin=-1)),
    ],
)
def test_senseless_settings_are_refused(make) -> None:
    with pytest.raises(ValueError, match=r"^(fraction|edge|margin) must be "):
        make()
