"""Packed masks and J against plain arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from davis_exp.metrics.bits import Bits, count, overlap
from davis_exp.metrics.jaccard import jaccard

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=150))


@settings(max_examples=60, deadline=None)
@given(masks)
def test_packing_loses_nothing_and_pads_with_zeros(mask):
    bits = Bits.of(mask)
    assert bits.shape == mask.shape
    assert np.array_equal(bits.unpack(), mask)
    assert count(bits.words) == mask.sum()


@settings(max_examples=60, deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_jaccard_equals_counting_pixels(mask, seed):
    other = np.random.default_rng(seed).random(mask.shape) < 0.5
    union = (mask | other).sum()
    assert jaccard(mask, other) == ((mask & other).sum() / union if union else 1.0)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_non_zero_is_foreground_in_any_type(dtype):
    mask = np.array([[0, 1, 1], [0, 0, 1]]).astype(dtype)
    assert count(Bits.of(mask).words) == 3
    assert count(Bits.of(np.array([[0.2, 0.0]])).words) == 1


def test_empty_masks():
    empty, one = np.zeros((3, 5), bool), np.eye(3, 5, dtype=bool)
    assert jaccard(empty, empty) == 1.0
    assert jaccard(empty, one) == jaccard(one, empty) == 0.0


def test_sizes_must_agree():
    # 64 and 60 columns take one word each: the width has to tell them apart
    with pytest.raises(ValueError, match=r"\(2, 64\) and \(2, 60\)"):
        overlap(Bits.of(np.ones((2, 64))), Bits.of(np.ones((2, 60))))
    with pytest.raises(ValueError, match="H, W"):
        Bits.of(np.zeros((1, 2, 3)))
