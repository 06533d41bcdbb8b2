"""Cut-outs moving before still ones: what moves on its own is the mask, and nothing else is."""

import numpy as np
import pytest
from PIL import Image

from davis_exp.data.cache import identity
from davis_exp.data.camera import residual
from davis_exp.data.flow import DisFlow
from davis_exp.data.sources.crowd import CrowdSource, _scene
from davis_exp.utils.errors import BadInput

SMALL = {"clips": 16, "length": 3, "height": 96, "width": 160}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six textured pictures, each of an object of its own colour."""
    root = tmp_path_factory.mktemp("stills")
    for number in range(6):
        rng = np.random.default_rng(number)
        picture = np.kron(rng.integers(0, 120, (30, 40, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[30:100, 50:100] = 255
        picture[mask > 0] = np.kron(rng.integers(130, 256, (30, 40, 3)), np.ones((4, 4, 1)))[mask > 0]
        for name, image in (("images", picture), ("masks", mask)):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(image).save(root / name / f"{number}.png")
    return root


def test_clips_are_functions_of_their_settings(folder):
    one, two = (CrowdSource(folder, **SMALL).sequences("train") for _ in range(2))
    assert [s.name for s in one[:2]] == ["train-00000", "train-00001"]
    assert [i for s in one for i in s.index] == list(range(16 * 3))
    assert len({s.key for s in one}) == len({s.identity for s in one}) == 16
    assert not one[0].still
    later = [s.frame(2).tobytes() for s in reversed(two)][::-1]
    assert [s.frame(2).tobytes() for s in one] == later
    assert [s.key for s in one] == [s.key for s in two]
    other, test = CrowdSource(folder, seed=1, **SMALL).sequences("train"), CrowdSource(folder, **SMALL)
    assert other[0].frame(0).tobytes() != one[0].frame(0).tobytes()
    assert len(test.sequences("test")) == 2
    assert test.sequences("test")[0].frame(0).tobytes() != one[0].frame(0).tobytes()
    for sequence in one:
        frame, mask = sequence.frame(1), sequence.mask(1)
        assert (frame.shape, mask.shape, sequence.size) == ((96, 160, 3), (96, 160), (96, 160))
        assert frame.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1}


def test_other_pictures_are_other_clips(folder, tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for path in (folder / name).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    before = identity(CrowdSource(folder, **SMALL).sequences("train")[0], 0)
    assert identity(CrowdSource(tmp_path, **SMALL).sequences("train")[0], 0) == before, "wherever they lie"
    for path in (tmp_path / "images").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 2).save(path)
    assert identity(CrowdSource(tmp_path, **SMALL).sequences("train")[0], 0) != before


def test_the_masked_one_moves_on_its_own_and_the_others_do_not(folder):
    """What the flow says of the rendered frames, against the camera's motion that they were rendered with."""
    own, rest = [], []
    for sequence in CrowdSource(folder, **(SMALL | {"height": 192, "width": 320})).sequences("train"):
        mask = sequence.mask(1)
        if mask.mean() < 0.02:
            continue
        left = np.hypot(*residual(DisFlow(cache=False).vectors(sequence, 1)))
        inside = mask[::2, ::2] > 0
        own.append(np.median(left[inside]))
        rest.append(np.median(left[~inside]))
    assert len(own) > 8
    assert np.median(own) > 3 * np.median(rest)


def test_distractors_are_pasted_as_the_object_is_and_rest(folder):
    scenes = [_scene(s) for s in CrowdSource(folder, **SMALL).sequences("train")]
    assert {sum(thing.own is not None for thing in scene.things) for scene in scenes} == {1}
    assert {len(scene.things) for scene in scenes} == {1, 2, 3, 4}
    first = [scene.things[0].own is not None for scene in scenes if len(scene.things) > 1]
    assert len(set(first)) == 2, "the object may stand before or behind"
    for scene in scenes:
        for thing in scene.things:
            depth = thing.depth if thing.own is None else 1
            here, there = (
                np.linalg.inv(scene.camera.at(t, depth)) @ thing.at(t, scene.camera) for t in (0, 1)
            )
            if thing.own is None:
                np.testing.assert_allclose(here, there, atol=1e-9)
            else:
                assert thing.own @ thing.own >= (0.01 * 160) ** 2


def test_scenes_may_be_other_pictures(folder, tmp_path):
    for name, value in (("images", 77), ("masks", 0)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((50, 60, 3)[: 3 if name == "images" else 2], value, np.uint8)).save(
            tmp_path / name / "plain.png"
        )
    sequence = CrowdSource(folder, scenes=tmp_path, distractors=0, **SMALL).sequences("train")[0]
    frame, mask = sequence.frame(0), sequence.mask(0)
    assert mask.any()
    assert (frame[mask == 0] == 77).mean() > 0.9
    alone = CrowdSource(tmp_path, **SMALL).sequences("train")[
        0
    ]  # nothing to cut out: nothing moves on its own
    assert not alone.mask(0).any()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"clips": 0}, r"data\.clips must be a whole number of at least 1"),
        ({"length": True}, r"data\.length"),
        ({"height": 8}, r"data\.height"),
        ({"distractors": 99}, r"data\.distractors .* at most 16, got 99"),
    ],
)
def test_values_out_of_range_are_named(folder, setting, message):
    with pytest.raises(BadInput, match=message):
        CrowdSource(folder, **setting)


def test_missing_pictures_are_named(folder, tmp_path):
    with pytest.raises(BadInput, match=r"no images in .*set data\.root"):
        CrowdSource(tmp_path).sequences("train")
    with pytest.raises(BadInput, match="no images in"):
        CrowdSource(folder, scenes=tmp_path).sequences("train")
