import numpy as np
import pytest

from davis_exp.data.resizing import fitted, halved, spare_halvings


@pytest.mark.parametrize(
    ("size", "wanted", "expected"),
    [
        ((360, 640), (192, 320), 0),
        ((384, 640), (192, 320), 1),
        ((480, 854), (192, 320), 1),
        ((800, 9000), (100, 100), 3),
        ((10, 10), (20, 20), 0),
    ],
)
def test_halvings_that_still_fill(size, wanted, expected):
    assert spare_halvings(size, wanted) == expected


def test_a_little_may_be_missing_if_it_is_allowed():
    assert spare_halvings((360, 640), (192, 320), enlarged=1.1) == 1
    assert spare_halvings((348, 640), (192, 320), enlarged=1.1) == 0


def test_a_halved_picture_is_the_mean_of_four():
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    mean = picture.reshape(4, 2, 6, 2, 3).mean((1, 3))
    assert np.abs(halved(picture, 1) - mean).max() <= 0.5
    assert halved(picture, 2).shape == (2, 3, 3)
    assert halved(picture[:7, :11], 1).shape == (4, 6, 3)
    assert halved(picture, 0) is picture


def test_fitted_looks_at_every_pixel_and_keeps_places():
    x = np.arange(64, dtype=np.float64)
    ramp = np.broadcast_to((3 * x).astype(np.uint8), (48, 64))
    for size in ((48, 64), (30, 40), (24, 32), (7, 9), (60, 80)):
        found = fitted(np.ascontiguousarray(ramp), size)
        middle = ((np.arange(size[1]) + 0.5) * 64 / size[1] - 0.5) * 3
        inside = slice(1, -1)
        assert np.abs(found[0] - middle)[inside].max() <= 1.6
    stripes = np.zeros((48, 64), np.uint8)
    stripes[:, ::2] = 200  # finer than what is asked for: their mean, not one of the two
    assert np.abs(fitted(stripes, (12, 16)).astype(int) - 100).max() <= 1


def test_masks_are_never_mixed():
    mask = np.random.default_rng(0).integers(0, 2, (48, 64), dtype=np.uint8)
    found = fitted(mask, (20, 30), smooth=False)
    assert found.shape == (20, 30)
    assert set(np.unique(found)) == {0, 1}
