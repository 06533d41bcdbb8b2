import cv2
import numpy as np
import pytest

from davis_exp.data.sources import rendering
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.utils.errors import BadInput


def fresh(sequence, i):
    """Frame and mask rendered from nothing, whatever was rendered before."""
    rendering.render.cache_clear()
    rendering._scene.cache_clear()
    return sequence.frame(i), sequence.mask(i)


def test_stages_indices_and_names():
    source = GeneratedSource(train=3, test=2, length=4)
    train, test = source.sequences("train"), source.sequences("test")
    assert [s.name for s in train] == ["train-000", "train-001", "train-002"]
    assert [i for s in train for i in s.index] == list(range(12))
    assert [i for s in test for i in s.index] == list(range(8))
    assert train[1].frame_ids[2] == "train-001/00002"
    assert len({s.key for s in train + test}) == 5
    assert not np.array_equal(train[0].frame(0), test[0].frame(0))


@pytest.mark.parametrize("distractors", [0, 3])
def test_a_frame_is_a_function_of_seed_sequence_and_number(distractors):
    one = GeneratedSource(distractors=distractors, seed=4).sequences("train")[2]
    two = GeneratedSource(train=3, distractors=distractors, seed=4).sequences("train")[2]
    frame, mask = fresh(one, 7)
    for i in (3, 0, 9):
        two.frame(i)
    assert np.array_equal(frame, two.frame(7))
    assert np.array_equal(mask, two.mask(7))
    assert frame.shape == (96, 160, 3)
    assert frame.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    other = GeneratedSource(distractors=distractors, seed=5).sequences("train")[2]
    assert not np.array_equal(frame, other.frame(7))


def test_what_is_handed_out_can_be_changed_without_harm():
    sequence = GeneratedSource().sequences("train")[0]
    before = sequence.frame(0)
    sequence.frame(0)[:] = 0
    sequence.mask(0)[:] = 9
    assert np.array_equal(sequence.frame(0), before)
    assert sequence.mask(0).max() == 1
    with pytest.raises(IndexError):
        sequence.frame(24)


def test_object_has_a_reasonable_size_and_no_favourite_place():
    middles, areas = [], []
    for sequence in GeneratedSource(train=150, height=48, width=80).sequences("train"):
        for i in (0, 12, 23):
            mask = sequence.mask(i)
            areas.append(mask.mean())
            y, x = np.nonzero(mask)
            middles.append((y.mean() / 48, x.mean() / 80))
    assert 0.08 < np.mean(areas) < 0.16
    assert np.mean(np.array(areas) < 0.04) < 0.05
    assert max(areas) < 0.25
    assert np.abs(np.mean(middles, axis=0) - 0.5).max() < 0.04
    # Evenly spread over [0.1, 0.9] would be a deviation of 0.23; gathered in the middle far less.
    assert np.std(middles, axis=0).min() > 0.18


def test_trivial_answers_score_low():
    y, x = np.mgrid[:96, :160]
    ellipse = ((y - 48) / 24) ** 2 + ((x - 80) / 40) ** 2 < 1
    masks = [s.mask(i) > 0 for s in GeneratedSource(test=20).sequences("test") for i in range(0, 24, 4)]
    assert np.mean([m.mean() for m in masks]) < 0.2  # everything foreground
    assert np.mean([(m & ellipse).sum() / (m | ellipse).sum() for m in masks]) < 0.25


def test_distractors_rest_in_the_scene_and_the_object_does_not():
    settings = GeneratedSource(distractors=2).settings
    for number in range(6):
        scene = rendering._scene(settings, 0, number)
        for layer in scene.layers:
            seen = [np.linalg.inv(scene.camera(i)) @ layer.place(i) for i in (0, 8, 16)]
            still = np.allclose(seen[0], seen[1]) and np.allclose(seen[0], seen[2])
            rigid = np.array_equal(layer.outline(0), layer.outline(16))
            assert still == rigid == (not layer.is_object)
        assert sum(layer.is_object for layer in scene.layers) == 1
        assert sum(len(layer.outline(0)) == 72 for layer in scene.layers) == 3


def test_distractors_look_like_the_object():
    """The same statistics of shape, size and colour: only motion is left to tell them apart."""
    settings = GeneratedSource(distractors=1, height=48, width=80).settings
    areas, contrasts, middles = {True: [], False: []}, {True: [], False: []}, {True: [], False: []}
    for number in range(200):
        for layer in rendering._scene(settings, 0, number).layers:
            if len(layer.outline(0)) < 72:
                continue
            areas[layer.is_object].append(cv2.contourArea(layer.outline(3).astype(np.float32)))
            contrasts[layer.is_object].append(layer.texture.std())
            middles[layer.is_object].append(layer.place(12)[:2, 2])
    for values in (areas, contrasts):
        a, b = np.array(values[True]), np.array(values[False])
        assert abs(a.mean() - b.mean()) < 3 * np.sqrt(a.var() / len(a) + b.var() / len(b))
    apart = np.mean(middles[True], axis=0) - np.mean(middles[False], axis=0)
    assert np.abs(apart / (80, 48)).max() < 0.1


def test_mask_is_where_the_object_is_seen():
    """Inverting the colours of the object's layer changes the frame inside the mask and the blur's rim."""
    settings = GeneratedSource(distractors=1).settings
    for number in range(3):
        rendering.render.cache_clear()
        before, mask = rendering.render(settings, 0, number, 5)
        layer = next(layer for layer in rendering._scene(settings, 0, number).layers if layer.is_object)
        layer.texture[:] = 255 - layer.texture
        rendering.render.cache_clear()
        after, _ = rendering.render(settings, 0, number, 5)
        rendering._scene.cache_clear()
        changed = np.abs(before.astype(int) - after).max(axis=2) > 30
        near = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
        assert not (changed & ~near).any()
        assert (changed & (mask > 0)).sum() > 0.8 * mask.sum()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("distractors", 4),
        ("distractors", -1),
        ("train", 0),
        ("length", 0),
        ("height", 8),
        ("seed", 1.5),
        ("test", True),
    ],
)
def test_impossible_settings_name_their_key(key, value):
    with pytest.raises(BadInput, match=rf"data\.{key} .*{value}"):
        GeneratedSource(**{key: value})
    with pytest.raises(BadInput, match="stages"):
        GeneratedSource().sequences("val")
