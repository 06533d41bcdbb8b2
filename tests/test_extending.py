"""Parts from outside the package, as a user writes them by README: a module and its YAML each, a measure one module."""

import json
import os
import subprocess
import sys

import pytest

from davis_exp.runs import score as scores

PARTS = {
    "encoder": """
from torch import nn

from davis_exp.models.levels import Levels


class Mine(nn.Module):
    context, needs_motion, mean, std = (0, 0), False, 0, 1

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.levels = Levels((width, width), (1, 2))
        self.convs = nn.ModuleList([nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(3, width, 2, stride=2)])

    def forward(self, frames, motion=None):
        return [conv(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]) for conv in self.convs]
""",
    "temporal": """
import torch
from torch import nn


class Mine(nn.Module):
    context = None  # it carries the coarsest level of the frame before

    def __init__(self, *, inputs) -> None:
        super().__init__()
        self.levels = inputs
        self.gain = nn.Parameter(torch.zeros(inputs.channels[-1], 1, 1))

    def initial_state(self, features):
        return (torch.zeros_like(features[-1][:, 0]),)

    def forward(self, features, state):
        *finer, coarsest = features
        before = torch.cat([state[0].unsqueeze(1), coarsest[:, :-1]], dim=1)
        return [*finer, coarsest + self.gain * before], (coarsest[:, -1],)
""",
    "decoder": """
from torch import nn

from davis_exp.models.segmenter import Prediction


class Mine(nn.Module):
    context = (0, 0)

    def __init__(self, *, inputs, width: int) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even, got {width}")
        self.head = nn.Sequential(nn.Conv2d(inputs.channels[0], width, 1), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, features, size):
        return Prediction(self.head(features[0].flatten(0, 1)).unflatten(0, features[0].shape[:2]))
""",
    "loss": """
from davis_exp.models.losses import Loss


class Mine(Loss):
    def term(self, logits, target):
        return (logits.sigmoid() - target).square().mean()
""",
    "data": """
import numpy as np

from davis_exp.data.sequences import VideoSequence, Source


class Squares(VideoSequence):
    labelled = True
    size = (32, 48)

    def __init__(self, name, first, length):
        self.name = name
        self.index = tuple(range(first, first + length))
        self.frame_ids = tuple(f"{name}/{i:05d}" for i in range(length))

    @property
    def key(self):
        return f"squares:{self.name}:{len(self)}"

    def mask(self, i):
        mask = np.zeros(self.size, np.uint8)
        mask[8:20, 2 * i : 2 * i + 12] = 1
        return mask

    def frame(self, i):
        return self.mask(i)[..., None] * np.array([200, 150, 100], np.uint8)


class Mine(Source):
    def __init__(self, clips: int, length: int) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.clips, self.length = clips, length

    def sequences(self, stage):
        return [Squares(f"{stage}{n}", n * self.length, self.length) for n in range(self.clips)]
""",
}
YAML = {
    "encoder": "width: 7\n",
    "temporal": "_partial_: true\n",
    "decoder": "_partial_: true\nwidth: 4\n",
    "loss": "aux_weight: 0.1\n",
    "data": "defaults: [_loading, _self_]\nclips: 5\nlength: 6\nsize: [32, 48]\n",
}
MEASURE = """
import numpy as np

from davis_exp.metrics.measures import MEASURES, Measure


def found(prediction, truth):
    own, true = prediction.unpack(), truth.unpack()
    return float(own[true].mean()) if true.any() else 1.0


MEASURES["Recall"] = Measure("Recall", "share of the object that is found", found)
"""
SETTINGS = [f"{group}=mine" for group in PARTS]
SHORT = [
    *SETTINGS,
    "data.workers=0",
    "data.batch_size=2",
    "augmentation=none",
    "trainer=debug",
    "name=outside",
]
PARAMETERS = 7 * 28 + 7 * 13 + 7 + 4 * 8 + 5  # of encoder, temporal, decoder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user's working directory: my_parts/, my_conf/ and what ran there, once for all tests."""
    root = tmp_path_factory.mktemp("home")
    (root / "my_parts").mkdir()
    for group, module in PARTS.items():
        (root / "my_parts" / f"{group}.py").write_text(module)
        (root / "my_conf" / group).mkdir(parents=True)
        text = f"_target_: my_parts.{group}.Mine\n_convert_: all\n{YAML[group]}"
        (root / "my_conf" / group / "mine.yaml").write_text(text)
    (root / "my_parts/recall.py").write_text(MEASURE)
    done = app(root, "train", f"hydra.searchpath=[file://{root}/my_conf]", *SHORT)
    assert done.returncode == 0, done.stderr
    return root


def app(home, *arguments, measures="my_parts.recall"):
    command = [sys.executable, "-m", "davis_exp", *map(str, arguments)]
    environ = os.environ | {"DAVIS_EXP_MEASURES": measures}
    return subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True)


def run_of(home):
    (run,) = (home / "runs/outside").iterdir()
    return run


def test_they_train_and_are_tested_and_scored(home):
    run = run_of(home)
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["nparams"]) == ("finished", PARAMETERS)
    score = json.loads((run / "score.json").read_text())
    assert score["contest"]["frames"] == 5 * 6
    values = [own["raw"]["Recall"] for own in score["sequences"].values()]
    means = [sum(own[1:-1]) / 4 for own in values]
    assert score["davis2016"]["Recall"]["mean"] == pytest.approx(sum(means) / 5)
    assert "Recall mean" in (run / "train.log").read_text()


def test_what_they_cost_is_counted(home):
    done = app(home, "budget", "--config-dir", "my_conf", "--json", "cost.json", *SETTINGS)
    assert done.returncode == 0, done.stderr
    cost = json.loads((home / "cost.json").read_text())
    assert cost["parameters"] == PARAMETERS
    assert {part["name"]: part["parameters"] for part in cost["parts"]}["temporal"] == 7


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["decoder.width=3"], "decoder.width must be even, got 3"),
        (["data.length=0"], "data.length must be at least 1, got 0"),
    ],
)
def test_what_they_refuse_names_the_config_key(home, settings, why):
    refused = app(home, "train", "--config-dir", "my_conf", *SHORT, *settings, "name=refused")
    assert (refused.returncode, refused.stderr) == (2, f"davis-exp: {why}\n")


def test_a_checkpoint_of_theirs_is_used_where_they_are_allowed(home):
    best, clip = run_of(home) / "checkpoints/best.ckpt", home / "clip"
    done = app(home, "data", "generate", clip, "--train", 1, "--test", 1, "--length", 3)
    assert done.returncode == 0, done.stderr
    command = ["test", f"checkpoint={best}", "data=davis", f"data.root={clip}", "name=again"]
    refused = app(home, *command)
    assert refused.returncode == 2
    assert "allow it: --allow my_parts.encoder.Mine, or" in refused.stderr
    named = ",".join(f"my_parts.{group}.Mine" for group in ("encoder", "temporal", "decoder"))
    done = app(home, *command, f"allow=[{named}]")
    assert done.returncode == 0, done.stderr
    (results,) = (home / "runs/again").glob("*/results")
    done = app(home, "score", results, clip, "--protocol", "davis2016")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["sequence", "frames", "J", "F", "J&F", "BIoU", "Recall"]


def test_commands_that_only_read_scores_have_the_measure(home):
    done = app(home, "leaderboard", run_of(home), "--sort", "Recall")
    assert done.returncode == 0, done.stderr
    value = scores.read(run_of(home))["davis2016"]["Recall"][
        "mean"
    ]  # here nobody knows the measure: it is no harm
    assert f" {100 * value:.2f} " in done.stdout
    assert done.stdout.split()[7] == "Recall"


def test_a_module_of_measures_that_cannot_be_imported_is_named(home):
    refused = app(home, "leaderboard", run_of(home), measures="my_parts.none")
    why = "DAVIS_EXP_MEASURES: my_parts.none cannot be imported: No module named 'my_parts.none'"
    assert (refused.returncode, refused.stderr) == (2, f"davis-exp: {why}\n")
