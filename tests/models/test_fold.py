"""Folded batch norms answer as they did: exactly, where nothing is rounded."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from davis_exp.config import conf_dir
from davis_exp.experiment import build
from davis_exp.models.fold import NORMS, fold_batch_norm

LARGE = ("csn3d_full", "csn3d_lite", "matnet_full", "tmo_full")
EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, NORMS) for module in model.modules())


def stirred(model: nn.Module) -> nn.Module:
    """The model in double precision, its batch norms with statistics that do something."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, NORMS) and module.affine:
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.double().eval()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in EXPERIMENTS]
)
def test_every_experiment_answers_the_same(compose, name):
    model = stirred(build.build_model(compose(f"experiment={name}", "budget=none")))
    folded = fold_batch_norm(model)
    length = 8 if model.context and any(model.context) else 2
    clip = torch.rand(2, 1, length, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        before, after = (m(clip[0], clip[1] if m.needs_motion else None)[0].logits for m in (model, folded))
    assert (before - after).abs().max() <= 1e-10 * max(1, before.abs().max())
    assert norms(folded) <= 0.2 * norms(model)


def test_a_model_that_ships_answers_the_same_in_single_precision():
    import davis_exp

    model = davis_exp.load("zoo/zoo_mobile").model
    folded = fold_batch_norm(model)
    frames = torch.rand(1, 2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = (m(frames, frames)[0].logits.sigmoid() for m in (model, folded))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert norms(folded) < norms(model)


class Whole(nn.Module):
    """Convolutions and norms that may be folded, and some that may not."""

    context = (0, 0)
    needs_motion = False

    def __init__(self):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.up, self.up_norm = nn.ConvTranspose2d(4, 6, 2, 2), nn.BatchNorm2d(6)
        self.grouped, self.grouped_norm = nn.ConvTranspose2d(6, 6, 2, 2, groups=2), nn.BatchNorm2d(6)
        self.seen_twice, self.one_reader = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.late, self.no_affine = nn.Conv2d(6, 2, 1), nn.BatchNorm2d(2, affine=False)
        self.lone = nn.BatchNorm2d(2)
        self.shared = nn.Conv2d(2, 2, 1)
        self.one, self.other = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

    def forward(self, frames):
        x = self.first_norm(self.first(frames.flatten(0, 1)))
        x = F.relu(self.up_norm(self.up(x)))
        x = self.grouped_norm(self.grouped(x))
        y = self.seen_twice(x)
        x = y + self.one_reader(y)
        x = self.lone(F.relu(self.no_affine(self.late(x))))
        return self.one(self.shared(x)) + self.other(self.shared(x))


def test_only_a_norm_that_is_all_that_looks_at_a_convolution_is_folded():
    model = stirred(Whole())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fold_batch_norm(model)
    kinds = {name: type(module) for name, module in folded.named_children()}
    for name in ("first_norm", "up_norm", "no_affine"):
        assert kinds[name] is nn.Identity
    for name in ("grouped_norm", "one_reader", "lone", "one", "other"):
        assert kinds[name] is nn.BatchNorm2d
    frames = torch.rand(1, 2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(frames), model(frames), rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
