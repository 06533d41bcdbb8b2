"""The parts of a frame's confidence against plain arithmetic, and ranks against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from davis_exp.metrics.frame_confidence import (
    border_entropy,
    disagreement,
    frame_confidence,
    rank_correlation,
)

SQUARE = np.zeros((40, 60), np.uint8)
SQUARE[10:30, 20:40] = 255


def test_a_sharp_border_has_no_entropy_and_a_vague_one_has_that_of_its_values():
    assert border_entropy(SQUARE) == pytest.approx(0, abs=1e-3)
    vague = np.where(SQUARE > 0, np.uint8(153), np.uint8(102))  # probabilities 0.6 and 0.4
    assert border_entropy(vague) == pytest.approx(-0.6 * np.log2(0.6) - 0.4 * np.log2(0.4), abs=1e-4)


def test_only_the_border_counts():
    inside = SQUARE.copy()
    inside[18:22, 28:32] = 140  # above the threshold, so no border of its own
    assert border_entropy(inside) == border_entropy(SQUARE)


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_found_or_everything_is_no_border_and_not_to_be_trusted(value):
    assert border_entropy(np.full((20, 30), value, np.uint8)) == 1


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


def test_both_lower_the_confidence():
    assert frame_confidence(0, 0) == 1
    assert frame_confidence(0, None) == 1
    best = frame_confidence(0.1, 0.1)
    assert 0 <= frame_confidence(0.9, 0.1) < best
    assert 0 <= frame_confidence(0.1, 0.9) < best
    assert frame_confidence(1, 1) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30))
def test_ranks_are_scipys(pairs):
    one, other = zip(*pairs, strict=True)
    if len(set(one)) < 2 or len(set(other)) < 2:
        assert rank_correlation(one, other) is None
    else:
        assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
