import torch
import torch.nn.functional as F
from torch import nn

from davis_exp.budget.activations import PeakActivations

MB = 2**20


def peak(compute, *existing):
    with torch.no_grad(), PeakActivations(list(existing)) as mode:
        compute()
    return mode.peak


def test_only_what_lives_at_once_is_counted():
    x = torch.empty(MB // 4, device="meta")  # one MB of floats

    def chain():
        a = x + 1
        b = a * 2
        del a
        return b + 1

    assert peak(chain, x) == 2 * MB
    assert peak(lambda: x + 1, x) == MB


def test_views_and_weights_are_free():
    weight = torch.empty(256, 1024, device="meta")
    assert (
        peak(lambda: weight.t().reshape(512, 512)[0:1].expand(1, 512), weight) == weight.nbytes
    )  # reshape copies
    assert peak(lambda: weight.view(-1)[5:], weight) == 0


def test_a_network_holds_its_largest_pair_of_maps():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 1, 1)).to("meta")
    x = torch.empty(1, 3, 64, 64, device="meta")
    assert peak(lambda: net(x), x, *net.parameters()) == (8 + 16) * 64 * 64 * 4


def test_it_agrees_with_what_is_allocated_for_real():
    """On the CPU the same tensors live as long: the count does not depend on the device."""
    x = torch.rand(1, 4, 32, 32)
    meta = x.to("meta")

    def compute(x):
        y = F.relu(x)
        return F.interpolate(y, scale_factor=2) + 1

    assert peak(lambda: compute(x), x) == peak(lambda: compute(meta), meta) == (1 + 4 + 4) * x.nbytes
