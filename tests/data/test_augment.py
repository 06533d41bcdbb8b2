import subprocess
import sys

import numpy as np
import pytest

from davis_exp.data.augment import ClipAugmentation
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
    """Seeded alike, flips and grey of equal probability would coincide."""
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


def test_albumentations_comes_late_and_asks_no_server():
    script = (
        "import os, sys, urllib.request\n"
        "os.environ.pop('NO_ALBUMENTATIONS_UPDATE', None)\n"
        "urllib.request.OpenerDirector.open = lambda *args, **kwargs: os._exit(7)\n"
        "from davis_exp.data.augment import ClipAugmentation\n"
        "assert 'albumentations' not in sys.modules\n"
        "ClipAugmentation((8, 8))\n"
        "assert 'albumentations' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0
