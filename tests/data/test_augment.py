import numpy as np
import pytest

from davis_exp.data.augment import LUMA, ClipAugmentation, _turned
from davis_exp.data.sources import DavisSource
from davis_exp.errors import BadInput

STRONG = {
    "flip": 0.5,
    "scale": (0.25, 1.0),
    "ratio": (0.75, 1.33),
    "rotate": 15,
    "colour": 0.8,
    "grey": 0.1,
    "blur": 0.2,
}


@pytest.fixture
def clip():
    """Three equal frames in smooth colours with a mask that a threshold on red finds again."""
    y, x = np.mgrid[:60, :80]
    frame = np.stack([np.where((x - 20) ** 2 + (y - 30) ** 2 < 200, 250, 10), 3 * x, 4 * y], axis=-1).astype(
        np.uint8
    )
    return np.stack([frame] * 3), np.stack([(frame[..., 0] > 128).astype(np.uint8)] * 3)


def test_without_arguments_it_only_resizes(clip):
    frames, masks, _ = ClipAugmentation((60, 80))(*clip, np.random.default_rng(0))
    assert np.array_equal(frames, clip[0])
    assert np.array_equal(masks, clip[1])
    frames, masks, _ = ClipAugmentation([30, 40])(*clip, np.random.default_rng(0))
    assert frames.shape == (3, 30, 40, 3)
    assert masks.shape == (3, 30, 40)
    assert masks.mean() == pytest.approx(clip[1].mean(), rel=0.1)


def test_one_draw_for_all_frames_and_masks_follow(clip):
    augmentation = ClipAugmentation((48, 64), flip=0.5, scale=(0.4, 1.0), ratio=(0.8, 1.25), rotate=15)
    agreement = []
    for seed in range(20):
        frames, masks, _ = augmentation(*clip, np.random.default_rng(seed))
        assert frames.shape == (3, 48, 64, 3)
        assert masks.shape == (3, 48, 64)
        assert frames.dtype == masks.dtype == np.uint8
        assert set(np.unique(masks)) <= {0, 1}
        assert np.array_equal(frames[0], frames[2])
        assert np.array_equal(masks[0], masks[2])
        agreement.append(np.mean((frames[0, ..., 0] > 128) == masks[0]))
    assert min(agreement) > 0.97


def test_a_function_of_the_generator_alone(clip):
    augmentation = ClipAugmentation((48, 64), **STRONG)
    first = [augmentation(*clip, np.random.default_rng([1, 2, item]))[0] for item in range(8)]
    again = ClipAugmentation((48, 64), **STRONG)
    assert all(
        np.array_equal(again(*clip, np.random.default_rng([1, 2, item]))[0], first[item])
        for item in reversed(range(8))
    )
    assert len({frames.tobytes() for frames in first}) == 8


def test_draws_are_independent_of_each_other(clip):
    """Drawn from one number, flips and grey of equal probability would coincide."""
    augmentation = ClipAugmentation((60, 80), flip=0.5, grey=0.5)
    pairs = []
    for seed in range(200):
        frames, masks, _ = augmentation(*clip, np.random.default_rng(seed))
        pairs.append((masks[0, 30, 20] == 0, np.ptp(frames[0].astype(int), axis=-1).max() == 0))
    counts = [pairs.count(pair) for pair in ((False, False), (False, True), (True, False), (True, True))]
    assert min(counts) > 30  # 50 each is expected


def test_the_source_is_left_alone(clip):
    before = [array.copy() for array in clip]
    ClipAugmentation((48, 64), **STRONG)(*clip, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(before, clip, strict=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flip", 2),
        ("colour", -1),
        ("scale", (0.0, 1.0)),
        ("scale", (0.9, 0.5)),
        ("ratio", (0, 1)),
        ("rotate", 400),
    ],
)
def test_values_out_of_range_name_their_key(key, value):
    with pytest.raises(BadInput, match=rf"augmentation\.{key} "):
        ClipAugmentation((8, 8), **{key: value})


# ---- the change itself ------------------------------------------------------------------------------


def test_draws_do_not_move_each_other():
    """Whether one thing changes leaves the others' draws alone: ablations compare like with like."""
    alone = ClipAugmentation((48, 64), flip=0.5, scale=(0.4, 1.0))
    more = ClipAugmentation((48, 64), flip=0.5, scale=(0.4, 1.0), rotate=15, colour=0.5, grey=0.5, blur=0.5)
    for seed in range(20):
        one, two = (a.draw((60, 80), np.random.default_rng(seed)) for a in (alone, more))
        assert (one.region, one.flip) == (two.region, two.flip)


def test_crops_have_the_areas_and_aspects_asked_for():
    augmentation = ClipAugmentation((90, 160), scale=(0.25, 0.5), ratio=(0.8, 1.25))
    areas, aspects = [], []
    for seed in range(300):
        left, top, right, bottom = augmentation.draw((360, 640), np.random.default_rng(seed)).region
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        areas.append((right - left) * (bottom - top))
        aspects.append((right - left) / (bottom - top))  # as the frame's and the size's are equal
    assert (min(areas), max(areas)) == pytest.approx((0.25, 0.5), abs=0.01)
    assert (min(aspects), max(aspects)) == pytest.approx((0.8, 1.25), abs=0.02)


def test_the_region_depends_on_the_shape_of_frames_but_not_on_their_number_of_pixels():
    augmentation = ClipAugmentation((48, 64), scale=(0.4, 1.0), ratio=(0.8, 1.25))
    small, large = (
        augmentation.draw(size, np.random.default_rng(1)).region for size in ((60, 90), (600, 900))
    )
    assert small == pytest.approx(large)


def test_colours_are_what_one_by_one_they_would_be():
    """Brightness, then saturation, then hue, then contrast about the mean grey: all by one matrix."""
    rng = np.random.default_rng(0)
    frames = rng.integers(90, 160, (2, 24, 32, 3)).astype(np.uint8)  # far from where anything is cut off
    augmentation = ClipAugmentation((24, 32), colour=0.3)
    for seed in range(10):
        change = augmentation.draw((24, 32), np.random.default_rng(seed))
        made = change(list(frames), list(frames[..., 0]))[0]
        if change.colours is None:
            assert np.array_equal(made, frames)
            continue
        coloured = frames @ change.colours.T
        grey = (coloured @ LUMA).mean()
        expected = grey + change.contrast * (coloured - grey)
        assert np.abs(made - expected).max() <= 0.75  # OpenCV's transform is not quite exact
        # Hue and saturation leave brightness alone: one factor for all greys.
        factor = (change.colours @ np.ones(3)).mean()
        assert np.allclose(change.colours @ np.ones(3), factor, atol=2e-3)
        assert np.allclose(LUMA @ change.colours, factor * LUMA, atol=2e-3)


def test_grey_is_the_brightness(clip):
    frames, masks, _ = ClipAugmentation((60, 80), grey=1.0)(*clip, np.random.default_rng(0))
    assert np.abs(frames - (clip[0] @ LUMA)[..., None]).max() <= 0.75
    assert np.array_equal(masks, clip[1])


def test_a_hue_turned_all_the_way_is_where_it_was():
    assert np.allclose(_turned(1.0), np.eye(3), atol=1e-9)
    red, third = np.array([1.0, 0, 0]), _turned(1 / 3) @ np.array([1.0, 0, 0])
    assert LUMA @ third == pytest.approx(LUMA @ red, abs=2e-3)
    assert np.argmax(third) != 0


def test_halved_frames_give_nearly_the_same_clip(davis_root):
    sequence = DavisSource(davis_root).sequences("test")[0]  # 480 x 854
    # A crop begins at a whole pixel of what is given: it may come to lie a pixel of the full frame elsewhere.
    for scale, off in ((None, 0.5), ((0.5, 1.0), 5.0)):
        augmentation = ClipAugmentation((120, 200), flip=0.5, scale=scale)
        for seed in range(3):
            change = augmentation.draw(sequence.size, np.random.default_rng(seed))
            assert change.halvings(sequence.size) == 1 + (scale is None)
            full, less = (change([sequence.reduced(0, h)], [sequence.mask(0)]) for h in (0, 1))
            assert np.abs(full[0].astype(int) - less[0]).mean() < off
            assert np.mean(full[1] != less[1]) < 0.01
    assert (
        ClipAugmentation((192, 320)).draw(sequence.size, np.random.default_rng(0)).halvings((360, 640)) == 0
    )


def test_frames_finer_than_the_smallest_crop_needs_are_of_no_use():
    assert ClipAugmentation((192, 320)).finest == (192, 320)
    assert ClipAugmentation((192, 320), scale=(0.25, 1.0)).finest == (384, 640)
