"""What a model does, against PyTorch's own counter and allocator, and memory against sums done by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from davis_exp.budget.trace import Trace

MB = 2**20


def peak(compute, *existing, state=()):
    with torch.no_grad(), Trace(nn.Identity(), existing, state) as trace:
        compute()
    return trace.peak


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


def test_state_lives_from_the_beginning():
    before = torch.empty(MB // 4, device="meta")
    assert peak(lambda: before + 1, state=[before]) == 2 * MB


class Attends(nn.Module):
    """A module that computes something itself beside what the one inside it does."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.project(x).chunk(3, -1)
        return F.interpolate(
            F.scaled_dot_product_attention(q, k, v)[:, None], scale_factor=2, mode="bilinear"
        )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_operators_are_those_of_the_module_that_calls_them(device):
    model = nn.Sequential(Attends(), nn.Conv2d(1, 4, 3, padding=1), nn.Dropout()).eval().to(device)
    x = torch.zeros(2, 16, 8, device=device)
    with torch.no_grad(), Trace(model, [x, *model.parameters()]) as trace:
        model(x)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    counts = counter.get_flop_counts()
    flops = {}
    for op in trace.ops:
        flops[op.layer] = flops.get(op.layer, 0) + op.flops
    assert flops["0.project"] == sum(counts["Sequential.0.project"].values()) == 2 * 2 * 16 * 8 * 24
    assert flops["0"] == sum(counts["Sequential.0"].values()) - flops["0.project"] == 2 * 2 * 2 * 16 * 16 * 8
    assert flops["1"] == 2 * 9 * 4 * 2 * 32 * 16
    assert sum(flops.values()) == counter.get_total_flops()
    assert {op.layer: op.kind for op in trace.ops} == {
        "0.project": "matmul",
        "0": "resize",
        "1": "convolution",
    }


def test_bytes_are_what_is_read_and_written():
    conv = nn.Conv2d(4, 8, 1, bias=False)
    x = torch.zeros(1, 4, 10, 10)
    with torch.no_grad(), Trace(conv, [x, conv.weight]) as trace:
        conv(x).view(-1)[3:]
    (op,) = trace.ops
    assert (op.layer, op.name, op.kind) == ("", "convolution", "pointwise")
    assert op.bytes == 4 * (4 * 100 + 8 * 4 + 8 * 100)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.Conv2d(4, 4, 3), "convolution"),
        (nn.Conv2d(4, 4, 3, groups=4), "depthwise"),
        (nn.Conv2d(4, 4, 3, groups=2), "grouped"),
        (nn.ConvTranspose2d(4, 4, 2), "convolution"),
        (nn.BatchNorm2d(4), "norm"),
        (nn.GroupNorm(2, 4), "norm"),
        (nn.MaxPool2d(2), "pool"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "resize"),
        (nn.Upsample(scale_factor=2), "resize"),
        (nn.Hardswish(), "elementwise"),
        (nn.GELU(), "function"),
        (nn.ZeroPad2d(1), "copy"),
    ],
    ids=str,
)
def test_kinds(module, kind):
    x = torch.zeros(1, 4, 8, 8)
    with torch.no_grad(), Trace(module.eval()) as trace:
        module(x)
    assert [op.kind for op in trace.ops] == [kind]


def test_a_call_that_fails_leaves_no_hook_behind():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError), Trace(model):
        model(torch.zeros(1, 3))
    x = torch.zeros(1, 2)
    with Trace(model) as trace:
        model(x)
    assert [op.layer for op in trace.ops] == ["0"]
