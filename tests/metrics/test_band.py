"""Boundary IoU against two plain implementations: the published one's steps, and distances to the background."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import distance_transform_cdt

from davis_exp.metrics.band import band_iou, band_width, erode
from davis_exp.metrics.bits import Bits
from davis_exp.metrics.jaccard import jaccard


def published_band(mask):
    """mask_to_boundary of the authors' boundary_iou_api: a 3 x 3 erosion, as many times as the band is wide."""
    height, width = mask.shape
    times = max(1, round(0.02 * np.sqrt(height**2 + width**2)))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=times)[1 : height + 1, 1 : width + 1]
    return (mask.astype(np.uint8) - eroded).astype(bool)


def near_background(mask, reach):
    """Pixels whose nearest background, by the larger of the two coordinates' distances, is at most `reach` away."""
    distance = distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1]
    return mask & (distance <= reach)


def plain_iou(a, b):
    union = (a | b).sum()
    return (a & b).sum() / union if union else 1.0


def band(mask):
    packed = Bits.of(mask)
    return Bits(packed.words & ~erode(packed.words, band_width(mask.shape)), packed.width).unpack()


def check(prediction, truth):
    for mask in (prediction, truth):
        assert np.array_equal(band(mask), published_band(mask))
    expected = plain_iou(published_band(prediction), published_band(truth))
    assert band_iou(Bits.of(prediction), Bits.of(truth)) == expected


def test_real_masks_exactly(davis_root):
    files = sorted((davis_root / "Annotations" / "480p").glob("*/*.png"))[::19]
    assert len(files) == 15
    masks = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 127 for file in files]
    for number, mask in enumerate(masks):
        moved = np.roll(mask, (3 * number - 20, 5 - 2 * number), axis=(0, 1))
        check(moved, mask)
        check(cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0, mask)
        assert np.array_equal(band(mask), near_background(mask, 20))  # 0.02 × 979.7 pixels


shapes = array_shapes(min_dims=2, max_dims=2, max_side=140)


@settings(max_examples=100, deadline=None)
@given(shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))))
@example((np.ones((1, 1), bool), np.zeros((1, 1), bool)))
@example((np.ones((5, 64), bool), np.ones((5, 64), bool)))
@example((np.ones((130, 130), bool), np.eye(130, 130, 5, dtype=bool)))
def test_generated_masks_exactly(pair):
    check(*pair)


@pytest.mark.parametrize("reach", [1, 2, 31, 63, 64, 70])
@pytest.mark.parametrize("size", [(1, 1), (40, 65), (160, 300)])
def test_erosion_by_any_width(reach, size):
    mask = np.ones(size, bool)
    mask[:: max(2, size[0] - 3), :: max(2, size[1] // 2)] = False
    for own in (mask, np.ones(size, bool)):
        eroded = own & ~near_background(own, reach)
        assert np.array_equal(Bits(erode(Bits.of(own).words, reach), size[1]).unpack(), eroded)


def test_by_hand():
    """A square of 50 in a frame of 80 x 60: the band is 2 wide (0.02 × 100)."""
    truth, prediction = np.zeros((2, 60, 80), bool)
    truth[5:55, 10:60] = True
    assert band(truth).sum() == 50**2 - 46**2
    prediction[5:55, 11:61] = True  # a pixel to the right: of the bands' sides one column of two is common
    common = 2 * 2 * 49 + 2 * 46  # above and below, and one column of 46 more on either side
    united = 2 * (50**2 - 46**2) - common
    assert band_iou(Bits.of(prediction), Bits.of(truth)) == common / united
    assert jaccard(prediction, truth) == 49 / 51  # the area hides it


def test_empty_sides_and_other_sizes():
    empty, spot = (Bits.of(mask) for mask in (np.zeros((20, 30), bool), np.eye(20, 30, dtype=bool)))
    assert band_iou(empty, empty) == 1.0
    assert band_iou(spot, empty) == band_iou(empty, spot) == 0.0
    with pytest.raises(ValueError, match="different sizes"):
        band_iou(empty, Bits.of(np.zeros((20, 31), bool)))
