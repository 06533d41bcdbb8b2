import random
import zlib

import albumentations as A
import cv2
import numpy as np
import pytest

from davis_exp.data.augment import ClipAugmentation
from davis_exp.data.sources import DavisSource
from davis_exp.experiment import build
from davis_exp.utils.errors import BadInput


def strong(size=(48, 64)):
    return ClipAugmentation(
        size,
        flip=0.5,
        scale=(0.25, 1.0),
        ratio=(0.75, 1.33),
        transforms={
            "rotate": A.Rotate((-15, 15), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
            "colour": A.ColorJitter(p=0.8),
            "grey": A.ToGray(p=0.1),
            "blur": A.GaussianBlur(p=0.2),
        },
    )


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
    rotate = A.Rotate((-15, 15), border_mode=cv2.BORDER_REFLECT_101, p=0.7)
    augmentation = ClipAugmentation(
        (48, 64), flip=0.5, scale=(0.4, 1.0), ratio=(0.8, 1.25), transforms={"rotate": rotate}
    )
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
    augmentation = strong()
    first = [augmentation(*clip, np.random.default_rng([1, 2, item]))[0] for item in range(8)]
    again = strong()
    assert all(
        np.array_equal(again(*clip, np.random.default_rng([1, 2, item]))[0], first[item])
        for item in reversed(range(8))
    )
    assert len({frames.tobytes() for frames in first}) == 8


def test_draws_are_independent_of_each_other(clip):
    """Drawn from one number, two changes of equal probability would coincide."""
    transforms = {"grey": A.ToGray(p=0.5), "dark": A.RandomBrightnessContrast((-0.9, -0.9), (0, 0), p=0.5)}
    augmentation = ClipAugmentation((60, 80), transforms=transforms)
    pairs = []
    for seed in range(200):
        frames = augmentation(*clip, np.random.default_rng(seed))[0]
        pairs.append((frames[0].max() < 100, np.ptp(frames[0].astype(int), axis=-1).max() == 0))
    counts = [pairs.count(pair) for pair in ((False, False), (False, True), (True, False), (True, True))]
    assert min(counts) > 30  # 50 each is expected


def test_the_source_is_left_alone(clip):
    before = [array.copy() for array in clip]
    for seed in range(5):
        strong()(*clip, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(before, clip, strict=True))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flip", 2),
        ("scale", (0.0, 1.0)),
        ("scale", (0.9, 0.5)),
        ("ratio", (0, 1)),
    ],
)
def test_values_out_of_range_name_their_key(key, value):
    with pytest.raises(BadInput, match=rf"augmentation\.{key} "):
        ClipAugmentation((8, 8), **{key: value})


# ---- the change itself ------------------------------------------------------------------------------


def test_draws_do_not_move_each_other(clip):
    """Whether one thing changes leaves the others' draws alone: ablations compare like with like."""
    colour = {"colour": A.ColorJitter(p=0.8)}
    alone = ClipAugmentation((48, 64), flip=0.5, scale=(0.4, 1.0), transforms=colour)
    more = ClipAugmentation(
        (48, 64),
        flip=0.5,
        scale=(0.4, 1.0),
        transforms={"blank": A.NoOp(p=0.5), **colour, "grey": A.ToGray(p=0)},
    )
    for seed in range(20):
        one, two = (a(*clip, np.random.default_rng(seed)) for a in (alone, more))
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])


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


# ---- albumentations ---------------------------------------------------------------------------------


def test_transforms_do_what_albumentations_does(clip):
    """Its own Compose, given the same generators, makes the same of the same frames."""
    jitter = A.ColorJitter((0.5, 1.5), (0.5, 1.5), (0.5, 1.5), (-0.2, 0.2), p=1.0)
    change = ClipAugmentation((60, 80), transforms={"colour": jitter}).draw(
        (60, 80), np.random.default_rng(3)
    )
    frames = change(list(clip[0]), list(clip[1]))[0]
    assert not np.array_equal(frames, clip[0])
    plain = A.Compose([jitter])
    own = [change.seed, zlib.crc32(b"colour")]
    plain.set_random_state(np.random.default_rng(own), random.Random(f"{own}"))
    assert np.array_equal(frames, plain(images=clip[0])["images"])


def test_grey_is_the_brightness(clip):
    frames, masks, _ = ClipAugmentation((60, 80), transforms={"grey": A.ToGray(p=1.0)})(
        *clip, np.random.default_rng(0)
    )
    assert np.abs(frames - (clip[0] @ [0.299, 0.587, 0.114])[..., None]).max() <= 0.75
    assert np.array_equal(masks, clip[1])


def test_one_of_several_may_be_named(clip):
    either = A.OneOf([A.ToGray(p=1.0), A.InvertImg(p=1.0)], p=1.0)
    made = {
        ClipAugmentation((60, 80), transforms={"either": either})(*clip, np.random.default_rng(seed))[
            0
        ].tobytes()
        for seed in range(20)
    }
    assert len(made) == 2
    assert (255 - clip[0]).tobytes() in made


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        ("blur", "must be a transform of albumentations"),
        (A.Resize(10, 10), r"gives uint8 of \(10, 10\) for uint8 of \(60, 80\)"),
        (A.Normalize(), "gives float32"),
    ],
)
def test_what_is_no_transform_of_clips_is_refused_by_name(clip, transform, reason):
    with pytest.raises(BadInput, match=rf"augmentation\.transforms\.mine: {reason}"):
        ClipAugmentation((60, 80), transforms={"mine": transform})(*clip, np.random.default_rng(0))


def test_transforms_come_from_the_config(compose, clip):
    """Added, changed and left out from the command line, as any other part."""
    cfg = compose(
        "augmentation=light",
        "augmentation.transforms.colour.p=0",
        "+augmentation.transforms.invert={_target_: albumentations.InvertImg, p: 1}",
        "augmentation.flip=0",
        "augmentation.scale=null",
    )
    augmentation = build.make(cfg.augmentation, "augmentation")(size=(60, 80))
    assert np.array_equal(augmentation(*clip, np.random.default_rng(0))[0], 255 - clip[0])
    for override, reason in (
        (
            "+augmentation.transforms.colour.strength=3",
            "transforms.colour.strength: ColorJitter takes no 'strength'",
        ),
        (
            "augmentation.transforms.colour._target_=albumentations.ColourJitter",
            "transforms.colour._target_: cannot",
        ),
        (
            "augmentation.transforms.colour.brightness=[2,1]",
            "transforms.colour.brightness Value error, brightness tuple values must be ordered",
        ),
    ):
        with pytest.raises(BadInput, match=reason) as refusal:
            build.make(compose("augmentation=light", override).augmentation, "augmentation")(size=(60, 80))
        assert "\n" not in str(refusal.value)


# ---- frames given smaller ---------------------------------------------------------------------------


def test_halved_frames_give_nearly_the_same_clip(davis_root):
    sequence = DavisSource(davis_root).sequences("test")[0]  # 480 x 854
    # A crop begins at a whole pixel of what is given: it may come to lie a pixel of the full frame elsewhere.
    for scale, off in ((None, 0.5), ((0.5, 1.0), 5.0)):
        augmentation = ClipAugmentation((120, 200), flip=0.5, scale=scale)
        for seed in range(3):
            change = augmentation.draw(sequence.size, np.random.default_rng(seed))
            assert change.halvings(sequence.size) in ((1, 2) if scale else (2,))
            full, less = (change([sequence.reduced(0, h)], [sequence.mask(0)]) for h in (0, 1))
            assert np.abs(full[0].astype(int) - less[0]).mean() < off
            assert np.mean(full[1] != less[1]) < 0.01
    assert (
        ClipAugmentation((192, 320)).draw(sequence.size, np.random.default_rng(0)).halvings((340, 640)) == 0
    )


def test_frames_finer_than_the_smallest_crop_needs_are_of_no_use():
    assert ClipAugmentation((192, 320)).finest == (192, 320)
    assert ClipAugmentation((192, 320), scale=(0.25, 1.0)).finest == (384, 640)
