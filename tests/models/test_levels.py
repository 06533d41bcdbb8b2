"""The levels that parts hand on."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import pytest

from davis_exp.models.levels import Levels


def test_levels_are_tuples_that_cannot_change() -> None:
    levels = Levels([8, 16], [4, 8])  # type: ignore[arg-type]  # as libraries give them
    assert levels == Levels((8, 16), (4, 8), (1, 1))
    assert hash(levels) == hash(Levels((8, 16), (4, 8), (1, 1)))
    assert len(levels) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        levels.channels = (1,)  # type: ignore[misc]


def test_a_part_of_them() -> None:
    levels = Levels((8, 16, 32), (2, 4, 8), (1, 1, 2))
    assert levels[1:] == Levels((16, 32), (4, 8), (1, 2))
    assert levels.with_channels([1, 2, 3]) == Levels((1, 2, 3), (2, 4, 8), (1, 1, 2))


@pytest.mark.parametrize("fields", [((), ()), ((8,), (4, 8)), ((8, 16), (4, 8), (1,)), ((8,), ())])
def test_what_is_no_levels_is_refused(fields) -> None:
    with pytest.raises(ValueError, match="no levels, or not as many"):
        Levels(*fields)
    with pytest.raises(ValueError, match="no levels, or not as many"):
        Levels((8,), (4,))[1:]


def test_three_attributes_do_for_levels() -> None:
    levels = Levels((8,), (4,), (2,))
    assert Levels.of(SimpleNamespace(levels=levels)) is levels
    part = SimpleNamespace(channels=[8], strides=[4], temporal_strides=[2])
    assert Levels.of(part) == levels
    part.levels = (0, -1)  # something else of that name
    assert Levels.of(part) == levels
    del part.strides
    with pytest.raises(ValueError, match=r"SimpleNamespace declares no `levels` \(and no `strides`\)"):
        Levels.of(part)


def test_parts_are_usable_without_configs_and_commands() -> None:
    """What is built, run and refused in Python brings nothing of the command line with it."""
    code = """
import importlib, pkgutil, sys, torch
import davis_exp.models
for module in pkgutil.walk_packages(davis_exp.models.__path__, "davis_exp.models."):
    importlib.import_module(module.name)
from davis_exp.models.decoders.pixel import PixelDecoder
from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.losses import BCE
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.models.temporal.none import NoTemporal
model = VideoSegmenter(TimmEncoder("lcnet_050"), NoTemporal, PixelDecoder)
model.load_weights()
prediction, _ = model(torch.rand(1, 2, 3, 64, 64))
BCE()(prediction, torch.zeros(1, 2, 1, 64, 64)).backward()
ours = {name.split(".")[1] for name in sys.modules if name.startswith("davis_exp.")}
print(sorted(ours), "hydra" in sys.modules, "omegaconf" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['models', 'utils'] False False\n"
