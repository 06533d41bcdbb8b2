"""The parts of a frame's confidence against plain arithmetic, and ranks against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from davis_exp.metrics.frame_confidence import (
    disagreement,
    expected_overlap,
    frame_confidences,
    rank_correlation,
)

SQUARE = np.zeros((40, 60), np.uint8)
SQUARE[10:30, 20:40] = 255


def test_a_sure_map_expects_itself_and_doubt_counts_by_the_objects_size():
    assert expected_overlap(SQUARE) == 1
    vague = np.where(SQUARE > 0, np.uint8(204), np.uint8(51))  # probabilities 0.8 and 0.2
    assert expected_overlap(vague) == pytest.approx(0.8 * 400 / (400 + 0.2 * 2000))
    small = np.zeros_like(SQUARE)
    small[20:24, 20:24] = 255
    doubtful = [np.where(mask == 0, np.uint8(5), mask) for mask in (SQUARE, small)]
    assert expected_overlap(doubtful[1]) < expected_overlap(doubtful[0]) < 1


def test_it_is_the_overlap_of_masks_drawn_from_a_map_of_independent_pixels():
    random = np.random.default_rng(0)
    confidence = random.choice(np.array([10, 60, 200, 250], np.uint8), (60, 80))
    mask = confidence >= 128
    drawn = [random.random(confidence.shape) < confidence / 255 for _ in range(200)]
    mean = np.mean([(mask & other).sum() / (mask | other).sum() for other in drawn])
    assert expected_overlap(confidence) == pytest.approx(mean, abs=2e-3)


def test_nothing_found_is_not_to_be_trusted():
    assert expected_overlap(np.zeros((20, 30), np.uint8)) == 0
    assert expected_overlap(np.full((20, 30), 255, np.uint8)) == 1


def test_a_mask_that_moves_as_the_flow_says_agrees():
    moved = np.roll(SQUARE, 5, axis=1)
    flow = np.zeros((*SQUARE.shape, 2), np.float32)
    assert disagreement(moved, SQUARE, flow) == pytest.approx(1 - 15 / 25)  # 15 of 25 columns in common
    flow[..., 0] = -5
    assert disagreement(moved, SQUARE, flow) == 0
    assert disagreement(np.zeros_like(SQUARE), SQUARE, flow) == 1


def test_what_comes_in_from_outside_is_not_compared():
    entered = np.zeros((40, 60), np.uint8)
    entered[:, :5] = 255
    flow = np.zeros((40, 60, 2), np.float32)
    flow[..., 0] = -5
    assert disagreement(entered, np.zeros_like(entered), flow) == 0


def test_disagreement_beyond_the_usual_lowers_the_confidence():
    assert frame_confidences([0.9, 0.8], [None, None]) == [0.9, 0.8]
    assert frame_confidences([0.9] * 3, [0.3] * 3) == [0.9] * 3
    found = frame_confidences([0.9, 0.9, 0.9, 0.5], [0.2, 0.2, 0.8, 0.2])
    assert found == [0.9, 0.9, pytest.approx(0.9 * 0.4**0.25), 0.5]
    assert frame_confidences([], []) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
def test_ranks_are_scipys(pairs):
    one, other = zip(*pairs, strict=True)
    if len(set(one)) < 2 or len(set(other)) < 2:
        assert rank_correlation(one, other) is None
    else:
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
