"""How weights lie in memory."""

import torch
from torch import nn


def channels_last(model: nn.Module) -> None:
    """Lay 4-D weights out as NHWC, which convolutions on a CPU, and in half precision on a GPU, are faster with.

    `model.to(memory_format=…)` would refuse a model of 3-D convolutions.
    """
    for weight in model.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
