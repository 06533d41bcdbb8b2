"""Learning-rate schedules over a known number of optimizer steps. Each returns a torch scheduler, stepped per step."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


def poly(optimizer: Optimizer, *, total_steps: int, power: float = 0.9) -> LRScheduler:
    """(1 − step/total)^power, as in DeepLab (Chen et al., 2017)."""
    # Not PolynomialLR: that keeps its length in the checkpoint, and a run that is extended would stay at its end.
    return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / total_steps) ** power)


def cosine(
    optimizer: Optimizer, *, total_steps: int, warmup: float = 0.05, final: float = 0.0
) -> LRScheduler:
    """Linear warm-up over the first `warmup` fraction of steps, then half a cosine from 1 down to `final`."""
    warm = round(total_steps * warmup)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        done = min(1.0, (step - warm) / max(1, total_steps - warm))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, *, total_steps: int) -> LRScheduler:
    """The optimizer's own learning rate throughout; `total_steps` is taken because every schedule is given it."""
    return LambdaLR(optimizer, lambda step: 1.0)
