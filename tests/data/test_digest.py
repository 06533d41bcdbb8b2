"""A data set's digest: the same after a copy, another after any change."""

import os
import shutil

import cv2
import numpy as np
import pytest

from davis_exp.data import digest
from davis_exp.data.sources import open_source
from davis_exp.data.sources.crowd import CrowdSource
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.data.sources.images import ImageSource
from davis_exp.data.sources.mix import MixSource

STAGES = ("train", "test")


@pytest.fixture
def davis(tmp_path):
    root, draw = tmp_path / "davis", np.random.default_rng(0)
    for clip in ("swan", "bus"):
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / clip).mkdir(parents=True)
        for i in range(3):
            picture = draw.integers(0, 256, (90, 160, 3), np.uint8)  # noise: files above WHOLE
            cv2.imwrite(str(root / f"JPEGImages/480p/{clip}/{i:05d}.jpg"), picture)
            mask = np.zeros((90, 160), np.uint8)
            mask[20 : 40 + i, 30:60] = 255
            cv2.imwrite(str(root / f"Annotations/480p/{clip}/{i:05d}.png"), mask)
    (root / "ImageSets/480p").mkdir(parents=True)
    (root / "ImageSets/480p/train.txt").write_text("swan\n")
    (root / "ImageSets/480p/val.txt").write_text("bus\n")
    return root


def of(root, stages=STAGES):
    return digest.of_source(open_source(root), stages)


def test_a_copy_elsewhere_and_later_has_the_same(davis, tmp_path):
    shutil.copytree(davis, tmp_path / "far/away", copy_function=shutil.copyfile)
    for file in (tmp_path / "far").rglob("*.jpg"):
        os.utime(file, (1, 1))
    assert len(of(davis)) == 32
    assert of(tmp_path / "far/away") == of(davis)


def change_mask(root):
    path = root / "Annotations/480p/swan/00001.png"
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    mask[0, 0] = 255
    cv2.imwrite(str(path), mask)


def change_frame(root):
    path = root / "JPEGImages/480p/bus/00001.jpg"
    assert path.stat().st_size > digest.WHOLE
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # of the same size
    path.write_bytes(content)


def lose_mask(root):
    for i in (0, 1):
        (root / f"Annotations/480p/bus/{i:05d}.png").unlink()


def add_frame(root):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / kind / "480p/swan"
        shutil.copy(folder / f"00002.{suffix}", folder / f"00003.{suffix}")


def swap_masks(root):
    folder = root / "Annotations/480p/swan"
    (folder / "00000.png").rename(folder / "x")
    (folder / "00001.png").rename(folder / "00000.png")
    (folder / "x").rename(folder / "00001.png")


def change_split(root):
    (root / "ImageSets/480p/val.txt").write_text("bus\nswan\n")


@pytest.mark.parametrize(
    "change", [change_mask, change_frame, lose_mask, add_frame, swap_masks, change_split]
)
def test_every_change_is_noticed(davis, change):
    before = of(davis)
    change(davis)
    assert of(davis) != before


def test_only_the_stages_that_are_used_count(davis):
    train, test = of(davis, ["train"]), of(davis, ["test"])
    change_frame(davis)
    assert of(davis, ["train"]) == train
    assert of(davis, ["test"]) != test
    assert digest.stages("train", "holdout") == ("train",)
    assert digest.stages("train", "test") == ("train", "test")
    assert digest.stages("test", "holdout") == ("train",)
    assert digest.stages("test", "all") == ("test",)


def test_what_cannot_be_read_has_none(davis):
    (davis / "Annotations/480p/swan/00001.png").unlink()
    os.mkfifo(davis / "Annotations/480p/swan/00001.png")
    assert of(davis) is None
    shutil.rmtree(davis / "JPEGImages")
    assert of(davis) is None


@pytest.mark.parametrize("kind", [ImageSource, CrowdSource])
def test_what_is_made_of_pictures_is_told_by_them(tmp_path, kind):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, 10 : 20 + i] = 255
        cv2.imwrite(str(tmp_path / f"images/{i}.jpg"), np.full((40, 60, 3), 40 * i, np.uint8))
        cv2.imwrite(str(tmp_path / f"masks/{i}.png"), mask)
    before = digest.of_source(kind(tmp_path), STAGES)
    assert digest.of_source(kind(tmp_path), STAGES) == before
    mixed = digest.of_source(
        MixSource({"a": {"source": GeneratedSource()}, "b": {"source": kind(tmp_path)}}), STAGES
    )
    cv2.imwrite(str(tmp_path / "masks/1.png"), np.zeros((40, 60), np.uint8))
    assert digest.of_source(kind(tmp_path), STAGES) != before
    again = digest.of_source(
        MixSource({"a": {"source": GeneratedSource()}, "b": {"source": kind(tmp_path)}}), STAGES
    )
    assert again != mixed


def test_generated_clips_have_one_too():
    assert digest.of_source(GeneratedSource(train=2), STAGES) == digest.of_source(
        GeneratedSource(train=2), STAGES
    )
    assert digest.of_source(GeneratedSource(train=2), STAGES) != digest.of_source(
        GeneratedSource(train=3), STAGES
    )


def test_of_a_config_it_is_that_of_its_source(davis):
    node = {
        "_target_": "davis_exp.data.sources.davis.DavisSource",
        "root": str(davis),
        "workers": 2,
        "size": [9, 9],
    }
    assert digest.of_config(node | {"test_split": "test"}, "train") == of(davis)
    assert digest.of_config(node | {"test_split": "holdout"}, "train") == of(davis, ["train"])
    assert digest.of_config(node | {"root": "/nowhere"}, "train") is None
    assert digest.of_config(node | {"artifact": "team/project/data:v1"}, "train") is None
    assert (
        digest.of_config({"parts": {"a": {"source": {"test_artifact": "team/project/data:v1"}}}}, "train")
        is None
    )
    assert digest.of_config({}, "train") is None
