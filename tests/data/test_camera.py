"""What is left of flow without the camera's motion."""

import numpy as np
import pytest

from davis_exp.data import camera, flow_geometry
from davis_exp.data.flow import DisFlow
from davis_exp.data.sources import open_source
from davis_exp.utils.errors import BadInput

HEIGHT, WIDTH = 90, 160
OBJECT = (slice(30, 55), slice(60, 100))


def seen(matrix: np.ndarray, own: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Flow of a camera that moves points by the homography, with an object that moves by `own` besides."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    to = np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), 1)
    flow = to[:2] / to[2] - np.stack([x, y])
    flow[:, *OBJECT] += np.array(own)[:, None, None]
    return flow.astype(np.float32)


CAMERAS = {
    "rests": np.eye(3),
    "pans": np.array([[1, 0, 7.5], [0, 1, -3], [0, 0, 1]]),
    "zooms and turns": np.array([[1.06, -0.03, 2], [0.03, 1.06, -4], [0, 0, 1]]),
    "tilts": np.array([[1.02, 0.01, 3], [0, 1.03, 1], [2e-4, 1e-4, 1]]),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_only_the_objects_own_motion_is_left(name):
    left = camera.residual(seen(CAMERAS[name], own=(4, 2)))
    background = np.ones((HEIGHT, WIDTH), bool)
    background[OBJECT] = False
    assert np.abs(left[:, background]).max() < 0.05
    np.testing.assert_allclose(left[:, *OBJECT].mean((1, 2)), (4, 2), atol=0.05)
    np.testing.assert_array_equal(left, camera.residual(seen(CAMERAS[name], own=(4, 2))))


def test_without_a_fit_the_median_is_taken_off():
    noise = np.random.default_rng(0).normal(0, 20, (2, HEIGHT, WIDTH)).astype(np.float32)
    left = camera.residual(noise + 5)
    np.testing.assert_allclose(left, noise + 5 - np.median(noise + 5, axis=(1, 2), keepdims=True), atol=1e-5)
    for shape in ((2, 1, 1), (2, 2, 3), (2, 1, 50)):
        for fit in ("frame", "border"):
            assert not camera.residual(np.full(shape, 3, np.float32), fit).any()


@pytest.mark.parametrize("name", CAMERAS)
def test_an_object_that_fills_the_frame_is_not_taken_for_the_background(name, monkeypatch):
    """More than half of the frame moves with the object; a fit to all of it takes that for the camera."""
    monkeypatch.setattr(f"{__name__}.OBJECT", (slice(12, 78), slice(20, 140)))
    flow, background = seen(CAMERAS[name], own=(9, 4)), np.ones((HEIGHT, WIDTH), bool)
    background[OBJECT] = False
    assert background.mean() < 0.5
    ours, whole = camera.residual(flow, "border"), camera.residual(flow)
    assert np.abs(ours[:, background]).max() < 0.05
    np.testing.assert_allclose(ours[:, *OBJECT].mean((1, 2)), (9, 4), atol=0.05)
    assert np.abs(whole[:, background]).mean() > 3


def test_one_wild_vector_makes_nothing_pale():
    field = np.full((2, 100, 100), 0.5, np.float32)
    field[:, 5, 5] = 300
    speed = np.hypot(*camera.clipped(field))
    assert speed.max() == pytest.approx(camera.BRIGHT * np.hypot(0.5, 0.5), rel=1e-5)
    assert camera.clipped(np.zeros((2, 9, 9), np.float32)).max() == 0
    np.testing.assert_allclose(camera.clipped(field * 2), 2 * camera.clipped(field), rtol=1e-5)


def test_a_percentile_keeps_the_order_of_speeds():
    """Where most rests, 8 medians show whatever moves alike; a percentile shows how much faster the object is."""
    field = np.zeros((2, 100, 200), np.float32)
    field[0, :20] = 3  # parallax
    field[0, 40:80, 50:100] = 12  # the object
    field[0, 90, 9] = 300  # a wild vector
    seen = camera.clipped(field)
    assert np.hypot(*seen).max() == seen[0, 5, 5] == seen[0, 50, 60] == pytest.approx(camera.LEAST * 200)
    seen = camera.clipped(field, "percentile")
    assert (seen[0, 5, 5], seen[0, 50, 60], seen[0, 90, 9]) == pytest.approx((3, 12, 12))


def test_an_unknown_clip_is_refused():
    with pytest.raises(BadInput, match=r"flow\.clip must be median or percentile, got 'mean'"):
        camera.StabilisedFlow(clip="mean")
    with pytest.raises(BadInput, match=r"flow\.fit must be frame or border, got 'middle'"):
        camera.StabilisedFlow(fit="middle")
    with pytest.raises(BadInput, match=r"flow\.direction"):
        camera.StabilisedFlow(direction="up")


@pytest.mark.parametrize(
    ("clip", "fit"), [("median", "frame"), ("percentile", "frame"), ("percentile", "border")]
)
def test_mirrored_and_enlarged_flow_leaves_mirrored_and_enlarged_motion(clip, fit):
    """Training mirrors and enlarges what is left; a mirrored or larger frame must leave the same."""

    def left(flow):
        return camera.clipped(camera.residual(flow, fit), clip)

    flow = seen(CAMERAS["tilts"], own=(4, 2))
    np.testing.assert_allclose(left(flow_geometry.flip(flow)), flow_geometry.flip(left(flow)), atol=0.05)
    larger = flow_geometry.resample(flow, (2 * HEIGHT, 2 * WIDTH))
    inner = (slice(None), *(slice(2 * edge.start + 4, 2 * edge.stop - 4) for edge in OBJECT))
    np.testing.assert_allclose(
        left(larger)[inner], flow_geometry.resample(left(flow), (2 * HEIGHT, 2 * WIDTH))[inner], rtol=0.05
    )


def test_what_is_kept_is_shared_with_dis_and_what_is_made_of_it_is_not(davis_root, tmp_path):
    sequence = open_source(davis_root).sequences("test")[0]
    plain, stabilised = DisFlow(cache=str(tmp_path)), camera.StabilisedFlow(cache=str(tmp_path))
    flow = plain.vectors(sequence, 3)
    files = sorted(tmp_path.rglob("*.*"))
    np.testing.assert_array_equal(stabilised.vectors(sequence, 3), camera.clipped(camera.residual(flow)))
    assert sorted(tmp_path.rglob("*.*")) == files
    other = camera.StabilisedFlow(cache=str(tmp_path), clip="percentile")
    border = camera.StabilisedFlow(cache=str(tmp_path), fit="border")
    np.testing.assert_array_equal(
        border.vectors(sequence, 3), camera.clipped(camera.residual(flow, "border"))
    )
    assert len({repr(motion.identity(sequence, 3)) for motion in (plain, stabilised, other, border)}) == 4


def test_own_motion_ranks_object_pixels_better_than_speed_does(davis_root):
    """Area under the ROC curve of the length of the vector, in clips whose camera follows the object."""
    source = DisFlow(cache=False)
    for sequence in open_source(davis_root).sequences("train"):
        if sequence.name in ("bear", "swing"):
            flow = source.vectors(sequence, 20)
            mask = sequence.mask(20)[::2, ::2][: flow.shape[1], : flow.shape[2]] > 0
            raw = _auc(np.hypot(*flow), mask)
            own, by_border = (
                _auc(np.hypot(*camera.residual(flow, fit)), mask) for fit in ("frame", "border")
            )
            assert by_border > own - 0.01 > 0.89 > 0.6 > raw


def _auc(value: np.ndarray, mask: np.ndarray) -> float:
    ranks = np.empty(value.size)
    ranks[np.argsort(value, axis=None)] = np.arange(value.size)
    n = mask.sum()
    return float((ranks[mask.ravel()].sum() - n * (n - 1) / 2) / (n * (mask.size - n)))
