import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from davis_exp.training.callbacks.ema import Ema
from davis_exp.utils.errors import BadInput


def test_the_decay_grows_until_it_is_what_was_asked_for():
    ema = Ema(decay=0.3)
    model = torch.nn.Linear(1, 1, bias=False)
    averaged = AveragedModel(model, **ema._kwargs)
    expected = None
    for n, value in enumerate([1.0, 5.0, -2.0, 4.0, 7.0, 0.0]):
        with torch.no_grad():
            model.weight.fill_(value)
        averaged.update_parameters(model)
        if expected is None:
            expected = value  # the first is taken as it is
        else:
            decay = min(0.3, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * value
        assert averaged.module.weight.item() == pytest.approx(expected)


def test_counts_are_taken_not_averaged():
    ema = Ema()
    model = torch.nn.BatchNorm1d(2)
    averaged = AveragedModel(model, use_buffers=True, **ema._kwargs)
    for _ in range(4):
        model(torch.randn(3, 2))
        averaged.update_parameters(model)
    assert averaged.module.num_batches_tracked == 4


@pytest.mark.parametrize("decay", [0, 1, -0.1, 1.5])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(BadInput, match=r"callbacks\.ema\.decay"):
        Ema(decay=decay)
