"""Masks that move with the picture are trusted more than one that does not."""

import numpy as np
import pytest

from davis_exp.inference.confidence import ConfidenceMeter

HEIGHT, WIDTH = 120, 200


def clip(count=6, step=4):
    """A textured square on a textured ground, moving right; its true masks."""
    random = np.random.default_rng(0)
    ground = random.integers(60, 120, (HEIGHT, WIDTH, 3), np.uint8)
    thing = random.integers(120, 255, (40, 40, 3), np.uint8)
    ground, thing = (np.repeat(np.repeat(p[::4, ::4], 4, 0), 4, 1) for p in (ground, thing))
    for i in range(count):
        frame, mask = ground.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
        place = np.s_[40:80, 30 + step * i : 70 + step * i]
        frame[place], mask[place] = thing, 255
        yield frame, mask


def measured(pairs):
    meter = ConfidenceMeter()
    for frame, mask in pairs:
        meter.add(frame, mask)
    return meter.values()


def test_the_frame_whose_mask_is_elsewhere_is_trusted_least():
    pairs = list(clip())
    steady = measured(pairs)
    assert len(steady) == 6
    assert min(steady) > 0.6
    pairs[3] = pairs[3][0], np.roll(pairs[3][1], -60, axis=1)
    broken = measured(pairs)
    assert sorted(range(6), key=broken.__getitem__)[:2] in ([3, 4], [4, 3])  # 4 is compared with it
    assert broken[3] < 0.5 < min(broken[:3])


def test_the_first_takes_its_disagreement_from_the_second():
    pairs = list(clip(2))
    first, second = measured(pairs)
    assert first == pytest.approx(second, abs=0.1)
    pairs = list(clip(6))
    pairs[0] = pairs[0][0], np.roll(pairs[0][1], 60, axis=1)
    first, second, *rest = measured(pairs)
    assert max(first, second) < 0.5 < min(rest)


def test_a_single_frame_and_frames_of_several_sizes_have_their_border_alone():
    (frame, mask), *_ = clip(1)
    (alone,) = measured([(frame, mask)])
    assert alone > 0.9
    cropped = measured([(frame, mask), (frame[:100], mask[:100])])
    assert cropped == pytest.approx([alone, alone], abs=0.05)


def test_no_frames_have_no_confidence():
    assert measured([]) == []
