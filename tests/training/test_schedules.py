import math

import pytest
import torch

from davis_exp.training import schedules


def rates(make, steps, **settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make(optimizer, total_steps=steps, **settings)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen, optimizer.param_groups[0]["lr"]


def test_poly_is_the_power_of_what_is_left():
    seen, end = rates(schedules.poly, 10, power=0.9)
    assert seen == pytest.approx([2 * (1 - k / 10) ** 0.9 for k in range(10)])
    assert end == pytest.approx(0, abs=1e-9)


def test_cosine_warms_up_then_falls_to_its_final_fraction():
    seen, end = rates(schedules.cosine, 100, warmup=0.1, final=0.25)
    assert seen[:10] == pytest.approx([0.2 * (k + 1) for k in range(10)])
    assert seen[10] == pytest.approx(2.0)
    assert seen[55] == pytest.approx(2 * (0.25 + 0.75 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert end == pytest.approx(0.5)


def test_cosine_without_warm_up_starts_at_the_top():
    assert rates(schedules.cosine, 4, warmup=0.0)[0][0] == pytest.approx(2.0)


def test_constant_stays():
    assert rates(schedules.constant, 5) == ([2.0] * 5, 2.0)
