import sys
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.training import cpu


class Counted(cpu.FastDepthwise):
    """Whether the fast gradients were taken."""

    taken = 0


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    Counted.taken = 0
    apply = cpu._Depthwise.apply

    def counting(*args):
        Counted.taken += 1
        return apply(*args)

    monkeypatch.setattr(cpu._Depthwise, "apply", counting)
    return Counted


def gradients(conv: nn.Conv2d, x: Tensor, *, fast: bool, half: bool = True) -> list[Tensor]:
    """The answer, and the gradients of a weighted sum of it by input, weights and bias."""
    conv.zero_grad()
    x = x.clone().requires_grad_()
    mode = Counted() if fast else nullcontext()
    with torch.autocast("cpu", torch.bfloat16, enabled=half), mode:
        y = conv(x)
    ramp = torch.linspace(-1, 2, y.numel()).reshape(y.shape).cos()
    (y.float() * ramp).sum().backward()
    return [y.detach(), x.grad, conv.weight.grad, *([] if conv.bias is None else [conv.bias.grad])]


@pytest.mark.parametrize("kernel", [3, 5, (3, 5)])
@pytest.mark.parametrize("stride", [1, 2, (2, 1), 3])
@pytest.mark.parametrize("padding", [0, 1, 2, (1, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_are_those_of_a_convolution_in_float32(kernel, stride, padding, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=bias)
    # numbers that bfloat16 holds exactly, so that only the sums are rounded
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(parameter.bfloat16().float())
    x = torch.randn(2, 6, 17, 22).bfloat16().float().contiguous(memory_format=torch.channels_last)
    exact = gradients(conv, x, fast=False, half=False)
    fast = gradients(conv, x, fast=True)
    for ours, theirs in zip(fast, exact, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.float() - theirs).abs().max() < 0.02 * theirs.abs().max()


def test_the_answer_is_that_of_autocast_to_the_last_bit(counted):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 5, 2, 2, groups=8, bias=False)
    x = torch.randn(1, 8, 20, 30)
    with torch.autocast("cpu", torch.bfloat16):
        usual = conv(x)
        with Counted():
            ours = conv(x)
    assert counted.taken == 1
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, usual)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),  # fast as it is
        nn.Conv2d(8, 8, 5, 2, 2, groups=4),
        nn.Conv2d(8, 16, 5, 2, 2, groups=8),
        nn.Conv2d(8, 8, 5, 1, "same", groups=8),
        nn.Conv2d(8, 8, 5, 1, 4, dilation=2, groups=8),
        nn.Conv2d(1, 1, 5, 2, 2),
        nn.Conv2d(8, 8, 3, 2, 4, groups=8),  # more padding than kernel
    ],
)
def test_what_it_does_not_know_is_left_alone(conv, counted):
    x = torch.randn(1, conv.in_channels, 20, 30)
    for ours, theirs in zip(gradients(conv, x, fast=True), gradients(conv, x, fast=False), strict=True):
        assert torch.equal(ours, theirs)
    assert counted.taken == 0


def test_nothing_changes_in_float32_or_without_gradients(counted):
    conv, x = nn.Conv2d(8, 8, 5, 2, 2, groups=8), torch.randn(1, 8, 20, 30)
    for ours, theirs in zip(
        gradients(conv, x, fast=True, half=False), gradients(conv, x, fast=False, half=False), strict=True
    ):
        assert torch.equal(ours, theirs)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Counted():
        conv(x)
    assert counted.taken == 0


def test_a_whole_encoder_learns_as_without(counted):
    import timm

    torch.manual_seed(0)
    net = timm.create_model("tf_efficientnet_lite0", features_only=True, exportable=True).eval()
    x = torch.rand(2, 3, 64, 96)

    def learnt(fast: bool, half: bool = True) -> dict[str, Tensor]:
        net.zero_grad()
        mode = Counted() if fast else nullcontext()
        with torch.autocast("cpu", torch.bfloat16, enabled=half), mode:
            loss = sum(F.mse_loss(level.float(), torch.ones_like(level).float()) for level in net(x))
        loss.backward()
        return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}

    exact, usual, ours = learnt(False, half=False), learnt(False), learnt(True)
    assert counted.taken > 5
    for name, gradient in exact.items():  # how far bfloat16 itself is off differs from processor to processor
        near, other = (F.cosine_similarity(gradient.ravel(), g[name].ravel(), dim=0) for g in (ours, usual))
        assert near > min(0.99, other - 0.01), name


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_memory_is_kept():
    import resource

    cpu.keep_memory()

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)  # 64 MB, 16,384 pages
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert min(faults() for _ in range(3)) < 1000
