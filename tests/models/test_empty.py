"""Weights without memory: constructors compute with them, and what is taken over from a checkpoint is all there is."""

import copy

import pytest
import timm
import torch
from torch import nn

from davis_exp.models.empty import empty_weights, is_hollow, run_empty


class Computes(nn.Module):
    """Does in its constructor what those of libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1000, 1000))
        self.scale = nn.Parameter(torch.ones(()))
        self.same = self.scale
        nn.init.trunc_normal_(self.weight)
        nn.init.eye_(self.weight)
        with torch.no_grad():
            self.weight[:10] = 3
            self.weight.mul_(2)
            self.weight += 1
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]
        self.register_buffer("table", torch.arange(4).to(self.weight), persistent=False)
        self.size = (torch.ones(1, 1000) @ self.weight).shape[-1]
        self.twin = copy.deepcopy(nn.Linear(1000, 1000))
        self.weight.requires_grad_(False)


def test_a_constructor_computes_and_nothing_is_kept() -> None:
    with empty_weights():
        made = Computes()
    assert all(p.untyped_storage().nbytes() == 4 for p in made.parameters())
    assert is_hollow(made.weight)
    assert not made.weight.requires_grad
    assert made.twin.weight.requires_grad
    assert made.same is made.scale
    assert (made.size, made.rates) == (1000, [0.0, 0.5, 1.0])
    assert made.table.tolist() == [0, 1, 2, 3]
    assert Computes().weight.std() > 0  # outside all is as ever


@pytest.mark.parametrize("name", ["swinv2_tiny_window8_256", "vitamin_small_224", "swinv2_cr_tiny_224"])
def test_what_the_meta_device_refuses_is_built_with_the_same_buffers(name: str) -> None:
    with empty_weights():
        empty = timm.create_model(name, features_only=True)
    real = timm.create_model(name, features_only=True)
    assert {n: p.shape for n, p in empty.named_parameters()} == {
        n: p.shape for n, p in real.named_parameters()
    }
    buffers = dict(real.named_buffers())
    assert buffers.keys() == dict(empty.named_buffers()).keys()
    assert all(torch.equal(value, buffers[n]) for n, value in empty.named_buffers())


def test_a_run_leaves_no_trace() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(2, 2)  # one module under two names

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.last = self.first(x) + self.second(x)
            return self.last

    module = Remembers().train()
    assert run_empty(module, torch.empty(5, 2, device="meta")).shape == (5, 2)
    assert not hasattr(module, "last")
    assert module.training
    assert module.first.training
    assert all(p.device.type == "cpu" for p in module.parameters())
    module(torch.zeros(1, 2))
