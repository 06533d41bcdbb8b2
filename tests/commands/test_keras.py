"""A Keras user's day: a model of their own and an application are trained, tested, predicted with and handed on."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from PIL import Image

from davis_exp.cli import main
from davis_exp.data.sources import open_source
from davis_exp.experiment import build, checkpoints, starting
from davis_exp.utils.errors import BadInput, OverBudget

TESTS = Path(__file__).resolve().parents[1]
needs_keras = pytest.mark.usefixtures("keras")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # Keras', NumPy 2


@pytest.fixture
def davis(davis_root, tmp_path, monkeypatch):
    """davis(frames) → a data set of two real train clips, and of the first frames of two val clips."""
    monkeypatch.chdir(tmp_path)

    def make(frames=3):
        root = tmp_path / "davis"
        for resolution, names, split in (
            ("360p", ["bear", "boat"], "train"),
            ("480p", ["blackswan", "dog"], "val"),
        ):
            for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
                for name in names:
                    folder = root / kind / "480p" / name
                    folder.mkdir(parents=True)
                    count = frames if split == "val" else 12
                    for path in sorted((davis_root / kind / resolution / name).glob(f"*.{suffix}"))[:count]:
                        (folder / path.name).symlink_to(path)
            lists = root / "ImageSets/2016"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
        return root

    return make


def fast(root, steps=20):
    return [
        *(f"data.root={root}", "data.size=[64,96]", "data.workers=0", "data.batch_size=2"),
        *("data.clip_length=1", "data.holdout=0.5", f"trainer.max_steps={steps}", "logger=none"),
        *("optimizer.lr=0.01", "augmentation=none"),
    ]


def elsewhere(*arguments, cwd, code=0):
    """What the command says in a process of its own, which has seen no Keras yet."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    done = subprocess.run(
        [sys.executable, "-m", "davis_exp", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, env=environment,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def newest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime)


def score(run: Path):
    return json.loads((run / "score.json").read_text())


@needs_keras
def test_a_model_trains_and_its_keras_file_scores_the_same_in_a_new_process(davis, tmp_path):
    root = davis()
    model = ["model=keras", "model.factory=keras_models.unet", "+model.width=8", "name=mine"]
    elsewhere("train", *model, *fast(root), cwd=tmp_path)
    run = newest(tmp_path / "runs/mine")
    trained = score(run)
    assert trained["contest"]["mean_iou"] > 0.01
    status = json.loads((run / "status.json").read_text())
    assert status["nparams"] == trained["nparams"] == 14_945  # by Keras' count, 160 of them statistics
    best = run / "checkpoints/best.ckpt"
    allow = ["--allow", "keras_models.unet"]
    assert main(["export", str(best), "-o", "mine.keras", *allow]) == 0
    data = [f"data.root={root}", "name=again", "inference.size=[64,96]"]
    elsewhere("test", "checkpoint=mine.keras", *data, cwd=tmp_path)
    again = score(newest(tmp_path / "runs/again"))
    assert again["contest"]["mean_iou"] == pytest.approx(trained["contest"]["mean_iou"], abs=1e-4)
    assert again["nparams"] == 14_945
    video = str(root / "JPEGImages/480p/dog")
    assert main(["predict", "mine.keras", video, "-o", "out", "--size", "64x96"]) == 0
    assert len(list((tmp_path / "out/masks").iterdir())) == 3
    with pytest.raises(BadInput, match=r"--allow keras_models\.unet"):  # nobody has allowed it
        checkpoints.read(best)
    checkpoints.read(best, ["keras_models.unet"])


@needs_keras
def test_a_keras_file_scores_as_the_masks_that_keras_makes_with_it(davis, keras, tmp_path):
    from keras_models import unet

    root = davis(1)
    model = unet(seed=3)
    sequences = open_source(root).sequences("test")
    image = sequences[0].frame(0)[None, :, :848].astype(np.float32) / 255
    odds = np.median(scipy.special.logit(model.predict_on_batch(image)))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias - odds])  # half of it is object
    model.save("theirs.keras")
    for sequence in sequences:
        for i, frame in enumerate(sequence.frame_ids):
            image = np.pad(sequence.frame(i), ((0, 0), (0, 2), (0, 0)), mode="edge")  # 854 → 856
            (mask,) = model.predict_on_batch(image[None].astype(np.float32) / 255)
            path = tmp_path / "masks" / f"{frame}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(mask[:, :854, 0] * 255).astype(np.uint8)).save(path)
    made = ["--data", str(root), "--nparams", str(model.count_params()), "-o", "theirs"]
    assert main(["results", "make", "masks", *made]) == 0
    assert main(["score", "theirs", str(root), "--json", "theirs.json"]) == 0
    elsewhere("test", "checkpoint=theirs.keras", f"data.root={root}", "name=ours", cwd=tmp_path)
    ours, theirs = score(newest(tmp_path / "runs/ours")), json.loads(Path("theirs.json").read_text())
    assert ours["nparams"] == theirs["nparams"]
    assert 0.01 < ours["contest"]["mean_iou"] == pytest.approx(theirs["contest"]["mean_iou"], abs=1e-3)


@needs_keras
def test_an_application_trains_tests_and_scores(davis, tmp_path):
    root = davis()
    parts = ["encoder=keras", "+encoder.alpha=0.35", "decoder=fpn_light", "name=application"]
    elsewhere("train", *parts, *fast(root), cwd=tmp_path)
    run = newest(tmp_path / "runs/application")
    trained = score(run)
    data = [f"checkpoint={run / 'checkpoints/best.ckpt'}", f"data.root={root}", "name=again"]
    elsewhere("test", *data, cwd=tmp_path)
    again = score(newest(tmp_path / "runs/again"))
    assert again["contest"] == trained["contest"]
    assert again["nparams"] == trained["nparams"]


@needs_keras
def test_the_contest_s_keras_starter_costs_what_its_torch_starter_does_and_trains(davis, tmp_path, compose):
    keras, torch = (
        build.cost(compose(f"experiment={name}")) for name in ("contest_starter_keras", "contest_starter")
    )
    assert (keras.parameters, keras.flops) == (torch.parameters, torch.flops)
    elsewhere("train", "experiment=contest_starter_keras", *fast(davis(), steps=2), cwd=tmp_path)
    assert score(newest(tmp_path / "runs/contest_starter_keras"))["nparams"] == 4


@needs_keras
def test_over_the_budget_by_moving_statistics_alone_says_which_count_binds(compose):
    cfg = compose("encoder=keras", "decoder=pixel", "budget.limit=2250000")
    with pytest.raises(OverBudget, match="by Keras' count, with 34,112 moving statistics"):
        starting.build(cfg)


@pytest.mark.parametrize("option", ["encoder=keras", "model=keras", "experiment=contest_starter_keras"])
def test_without_the_extra_each_option_says_how_to_install_it(option, monkeypatch, compose):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(BadInput, match=r"pip install 'davis_exp\[keras\]'") as error:
        build.cost(compose(option))
    assert len(str(error.value).splitlines()) == 1


def test_nothing_but_what_is_of_keras_imports_it():
    code = (
        "import importlib, pkgutil, sys, davis_exp\n"
        "for module in pkgutil.walk_packages(davis_exp.__path__, 'davis_exp.'):\n"
        "    if not module.name.endswith(('__main__', 'aim_run')):  # one is made of a class of Aim's\n"
        "        importlib.import_module(module.name)\n"
        "print('keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
    for path in TESTS.rglob("*.py"):
        if "keras" not in path.name and path.name != "conftest.py":
            assert "import keras" not in path.read_text(), path


def test_the_extra_is_what_the_code_needs():
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed (the extra `keras`)")
    import tomllib

    extras = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(need.startswith("keras>=3") for need in extras["keras"])
