"""Fixtures for every test: where real data lives, and an environment in which nothing reaches outside."""

import atexit
import logging
import os
import shutil
import signal
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# A suite that was started with `&` in a script inherits an ignored Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "DAVIS_EXP_CACHE" not in os.environ:
    os.environ["DAVIS_EXP_CACHE"] = tempfile.mkdtemp(prefix="davis_exp_cache_")
    atexit.register(shutil.rmtree, os.environ["DAVIS_EXP_CACHE"], ignore_errors=True)

if find_spec(
    "absl"
):  # of TensorBoard and Keras: told to go, its handler would close the stderr that it was made with
    from absl import logging as absl

    absl.get_absl_handler().python_handler.setStream(sys.__stderr__)

REPO = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items):
    """Slow tests may take half an hour each, where they name no time of their own: some processors are much slower."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A command that a test runs in this process sets up logging: to a stderr that is closed when the test ends."""
    before = logging.getLogger().handlers[:]
    yield
    for handler in logging.getLogger().handlers[:]:
        if handler not in before and not type(handler).__module__.startswith("_pytest"):
            logging.getLogger().removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout, or a skip that says what is missing."""
    root = Path(os.environ.get("DAVIS_EXP_SHARED", REPO.parent / "shared"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root} (set DAVIS_EXP_SHARED)")
    return root


@pytest.fixture(scope="session")
def davis_root(shared: Path) -> Path:
    """DAVIS-2016: `train` at 360p and six `val` sequences at 480p, in DAVIS layout."""
    root = shared / "davis2016"
    if not root.is_dir():
        pytest.skip(f"no DAVIS-2016 at {root}")
    return root


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch):
    """Keras on torch, with tests/keras_models.py importable; a skip where it is not installed."""
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed (the extra `keras`)")
    monkeypatch.syspath_prepend(str(REPO / "tests"))
    from davis_exp.models.keras import backend

    return backend.keras()


@pytest.fixture
def compose():
    """compose("decoder=fpn", "seed=3", config="train") → the config that the command line would get."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from davis_exp.config import conf_dir

    def composed(*overrides: str, config: str = "train"):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra_compose(config, overrides=list(overrides))

    return composed


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny data set in each of the published layouts, by its option of conf/data.

    Frames are 32x48. Frame number i (of a sequence, from 0) shows two objects: 1, of 120 pixels, whose left edge is at
    column i, and 2, of 80 pixels, five columns further right. FBMS, YouTube-Objects and the test part of YouTube-VOS have
    masks of some frames only.
    """
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("layouts")

    def save(path: Path, picture: np.ndarray, palette: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(picture)
        if palette:
            image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 759)
        image.save(path)

    def ids(i: int) -> np.ndarray:
        mask = np.zeros((32, 48), np.uint8)
        mask[8:20, i : i + 10], mask[20:28, i + 5 : i + 15] = 1, 2
        return mask

    def frame(path: Path, i: int) -> None:
        picture = rng.integers(0, 60, (32, 48, 3), dtype=np.uint8)
        picture[ids(i) == 1], picture[ids(i) == 2, 0] = 230, 255
        save(path, picture)

    davis, vos, fbms, segtrack, objects, pairs = (
        root / name for name in ("davis", "vos", "fbms", "segtrack", "objects", "pairs")
    )
    for name in ("bike", "dogs", "horse"):
        for i in range(4):
            frame(davis / f"JPEGImages/480p/{name}/{i:05d}.jpg", i)
            save(davis / f"Annotations/480p/{name}/{i:05d}.png", ids(i), palette=True)
    (davis / "ImageSets/2017").mkdir(parents=True)
    (davis / "ImageSets/2017/train.txt").write_text("dogs\nbike\n")
    (davis / "ImageSets/2017/val.txt").write_text("horse\n")

    for part, name in (("train", "0a4"), ("train", "003"), ("valid", "1ff")):
        for i in range(6):
            frame(vos / part / f"JPEGImages/{name}/{5 * i:05d}.jpg", i)
            if part == "train" or i == 0:
                save(vos / part / f"Annotations/{name}/{5 * i:05d}.png", ids(i), palette=True)

    white = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 255]], np.uint8)
    for part, name in (("Trainingset", "bear01"), ("Trainingset", "cars2"), ("Testset", "dogs01")):
        for i in range(6):
            frame(fbms / part / name / f"{name}_{i + 1:04d}.jpg", i)
            truth = fbms / part / name / "GroundTruth" / f"{name}_{i + 1:04d}"
            if i in (0, 4) and name == "cars2":
                save(truth.with_suffix(".pgm"), ids(i) * np.uint8(100))
            elif i in (0, 4):
                save(truth.with_name(f"{truth.name}_gt.ppm"), white[ids(i)])
        (fbms / part / name / f"{name}Def.dat").write_text("2 regions")

    for name in ("bmx", "frog", "worm"):
        for i in range(4):
            frame(segtrack / f"JPEGImages/{name}/{name}_{i:05d}.png", i)
            for number in (1, 2) if name == "bmx" else ():
                save(
                    segtrack / f"GroundTruth/{name}/{number}/{name}_{i:05d}.png",
                    (ids(i) == number) * np.uint8(255),
                )
            if name != "bmx":
                save(segtrack / f"GroundTruth/{name}/{name}_{i:05d}.png", (ids(i) > 0) * np.uint8(255))
        (segtrack / "ImageSets").mkdir(exist_ok=True)
        (segtrack / f"ImageSets/{name}.txt").write_text(f"*{name}\n")

    for kind, number in (("cat", 1), ("cat", 2), ("dog", 1)):
        shot = objects / f"{kind}/data/{number:04d}/shots/001"
        for i in range(6):
            frame(shot / f"images/frame{i + 1:04d}.jpg", i)
            if i in (0, 5):
                save(shot / f"labels/{i + 1:05d}.jpg", (ids(i) > 0) * np.uint8(255))

    for i in range(4):
        frame(pairs / f"images/p{i}.jpg", i)
        save(pairs / f"masks/p{i}.png", (ids(i) > 0) * np.uint8(255))

    return {
        **dict.fromkeys(("davis2017", "davis2017_each"), davis),
        **dict.fromkeys(("youtube_vos", "youtube_vos_each"), vos),
        "fbms": fbms,
        "segtrack_v2": segtrack,
        "youtube_objects": objects,
        "pairs": pairs,
        "folders": vos / "train",
    }
