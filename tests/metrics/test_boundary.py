"""F against an independent plain implementation: full-frame dilation with scikit-image's disk, by OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.morphology import disk

from davis_exp.metrics.bits import Bits
from davis_exp.metrics.boundary import boundary_map, contour_f, dilate, radius
from davis_exp.metrics.jaccard import jaccard


def f(prediction, truth):
    return contour_f(Bits.of(prediction), Bits.of(truth))


def plain_map(mask):
    """Pixel by pixel rule, on whole arrays: differs from the east, south or south-east neighbour inside."""
    edges = np.zeros(mask.shape, bool)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1] |= mask[:-1] != mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edges


def plain_f(prediction, truth):
    p, t = plain_map(prediction), plain_map(truth)
    element = disk(int(np.ceil(0.008 * np.sqrt(prediction.shape[0] ** 2 + prediction.shape[1] ** 2))))
    near_p, near_t = (cv2.dilate(edges.astype(np.uint8), element) > 0 for edges in (p, t))
    if p.sum() == 0 and t.sum() == 0:
        precision, recall = 1.0, 1.0
    elif p.sum() == 0:
        precision, recall = 1.0, 0.0
    elif t.sum() == 0:
        precision, recall = 0.0, 1.0
    else:
        precision, recall = (p & near_t).sum() / p.sum(), (t & near_p).sum() / t.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def plain_j(prediction, truth):
    union = (prediction | truth).sum()
    return (prediction & truth).sum() / union if union else 1.0


def perturbations(mask, seed):
    """What predictions do wrong."""
    rng = np.random.default_rng(seed)
    height, width = mask.shape
    yield "shift", np.roll(mask, tuple(rng.integers(-30, 31, 2)), axis=(0, 1))
    yield "small shift", np.roll(mask, (3, -5), axis=(0, 1))
    grown = cv2.dilate(mask.astype(np.uint8), disk(int(rng.integers(1, 15))))
    yield "dilated", grown > 0
    yield "eroded", cv2.erode(mask.astype(np.uint8), disk(int(rng.integers(1, 9)))) > 0
    blobs = mask.astype(np.uint8)
    for _ in range(8):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(blobs, centre, int(rng.integers(1, 40)), int(rng.integers(2)), -1)
    yield "blobs", blobs > 0
    half = mask.copy()
    half[:, : width // 2] = False
    yield "half", half
    yield "other half", mask & ~half
    yield "empty", np.zeros_like(mask)
    yield "full", np.ones_like(mask)
    yield "noise", mask ^ (rng.random(mask.shape) < 0.01)
    yield "itself", mask


def check_masks(files):
    compared = 0
    for seed, file in enumerate(files):
        truth = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 127
        for name, prediction in perturbations(truth, seed):
            found = f(prediction, truth), jaccard(prediction, truth)
            assert found == (plain_f(prediction, truth), plain_j(prediction, truth)), (file, name)
            compared += 1
    return compared


def val_masks(davis_root):
    files = sorted((davis_root / "Annotations" / "480p").glob("*/*.png"))
    assert len(files) == 283
    return files


def test_real_masks_exactly(davis_root):
    assert check_masks(val_masks(davis_root)[::19]) == 15 * 11


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_real_masks_exactly(davis_root):
    assert check_masks(val_masks(davis_root)) == 283 * 11


shapes = array_shapes(min_dims=2, max_dims=2, max_side=140)


@settings(max_examples=150, deadline=None)
@given(shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))))
@example((np.ones((1, 1), bool), np.zeros((1, 1), bool)))
@example((np.ones((5, 64), bool), np.eye(5, 64, dtype=bool)))
@example((np.eye(65, 65, dtype=bool), np.ones((65, 65), bool)))
@example((np.tri(90, 129, dtype=bool), np.tri(90, 129, 3, dtype=bool)))
def test_generated_masks_exactly(pair):
    prediction, truth = pair
    assert f(prediction, truth) == plain_f(prediction, truth)


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    boxes=st.lists(st.tuples(*[st.integers(0, 199)] * 4), max_size=4),
)
def test_rectangles_that_touch_borders_exactly(shape, boxes):
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in boxes:
        mask[min(top, bottom) : max(top, bottom) + 1, min(left, right) : max(left, right) + 1] ^= True
    truth = np.roll(mask, (2, 7), axis=(0, 1))
    assert np.array_equal(
        Bits(boundary_map(Bits.of(mask).words, shape[1]), shape[1]).unpack(), plain_map(mask)
    )
    assert f(mask, truth) == plain_f(mask, truth)


@pytest.mark.parametrize("reach", [1, 2, 8, 18, 63, 64, 70])
@pytest.mark.parametrize("size", [(1, 1), (3, 64), (40, 65), (33, 200)])
def test_dilation_by_any_radius(reach, size):
    mask = np.random.default_rng(reach).random(size) < 0.02
    mask[0, 0] = mask[-1, -1] = True
    expected = cv2.dilate(mask.astype(np.uint8), disk(reach)) > 0
    assert np.array_equal(Bits(dilate(Bits.of(mask).words, reach), size[1]).unpack(), expected)


def test_empty_sides():
    empty, full, spot = np.zeros((20, 30), bool), np.ones((20, 30), bool), np.zeros((20, 30), bool)
    spot[10, 10] = True
    assert f(empty, empty) == 1.0
    assert f(full, empty) == 1.0  # a full frame has no boundary either
    assert f(spot, empty) == f(empty, spot) == 0.0
    far = np.roll(spot, 9, axis=1)
    assert f(spot, far) == 0.0  # both have one, nothing matches


def test_radius_of_known_sizes():
    assert radius((480, 854)) == 8
    assert radius((600, 800)) == 8  # 0.008 × 1000 exactly: not rounded up to 9
    assert radius((1080, 1920)) == 18
    assert radius((1, 1)) == 1
