"""Exponential moving average of the weights."""

from typing import Any

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from davis_exp.utils.errors import BadInput


class Ema(WeightAveraging):
    """Averaged weights, with a decay that grows as (1 + n) / (10 + n) up to `decay`, so short trainings profit too.

    Lightning's `WeightAveraging` validates and tests with the average and saves it as the checkpoint's
    `state_dict`; the weights still being trained are kept beside it under `current_model_state`. The average lives
    in the callback, not in the model: the budget never counts it.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise BadInput(f"callbacks.ema.decay: must lie between 0 and 1, got {decay}")

        def average(averaged: list[Tensor], current: list[Tensor], count: Any) -> None:
            n = float(count)  # fetched from the device once a step, not once a tensor
            weight = min(decay, (1 + n) / (10 + n))
            if averaged[0].is_floating_point():  # they come by type
                torch._foreach_lerp_(averaged, current, 1 - weight)
            else:
                torch._foreach_copy_(averaged, current)

        super().__init__(multi_avg_fn=average)
