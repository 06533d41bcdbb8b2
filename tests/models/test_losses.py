"""Losses against their definitions, and on the masks that break naive ones."""

import pytest
import torch
from torch import Tensor

from davis_exp.errors import BadInput
from davis_exp.models.losses import BCE, BCEDice, Dice, Focal, Jaccard, Lovasz
from davis_exp.models.segmenter import Prediction

ALL = [BCE, BCEDice, Dice, Focal, Jaccard, Lovasz]


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
    with pytest.raises(BadInput, match=r"logits of shape \(2, 3, 1, 4, 10\)"):
        BCE()(Prediction(logits[..., :4, :]), masks)
