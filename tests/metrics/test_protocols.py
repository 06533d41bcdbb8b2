"""The three protocols, by hand."""

import numpy as np
import pytest

from davis_exp.metrics.bits import Bits
from davis_exp.metrics.protocols import (
    binarise,
    frame_scores,
    of_sequence,
    over_sequences,
    pooled,
)


def test_every_confidence_is_rounded_like_the_judge_does():
    confidence = np.arange(256, dtype=np.uint8)[None]
    judge = np.array([round(value / 255) for value in range(256)], bool)[None]
    assert np.array_equal(binarise(confidence).unpack(), judge)
    assert judge[0, 127] == 0
    assert judge[0, 128] == 1


def test_contest_leaves_out_empty_frames_only():
    assert pooled({"iou": [0.5, None, 1.0, 0.0]}) == {
        "segmentation_metric": 0.5,
        "mean_iou": 0.5,
        "frames": 3,
        "excluded": 1,
    }
    assert pooled({"iou": [None, None]})["segmentation_metric"] is None
    assert pooled({"iou": [None, None]})["excluded"] == 2


def test_both_empty_counts_for_davis_but_not_for_the_contest():
    empty = Bits.of(np.zeros((8, 8), bool))
    assert frame_scores(empty, empty) == {"iou": None, "J": 1.0, "F": 1.0, "BIoU": 1.0}
    one = Bits.of(np.eye(8, dtype=bool))
    assert set(frame_scores(one, empty).values()) == {0.0}


def test_davis2016_drops_the_first_and_last_frame():
    raw = {"J": [0.0, 0.8, 0.8, 0.8, 0.0], "F": [0.0, 0.6, 0.6, 0.6, 0.0]}
    official, all_frames = (of_sequence(raw, name) for name in ("davis2016", "all_frames"))
    assert official["J"]["mean"] == pytest.approx(0.8)
    assert official["J&F"] == pytest.approx(0.7)
    assert official["J"]["recall"] == 1.0
    assert all_frames["J"]["mean"] == pytest.approx(0.48)
    assert all_frames["J"]["recall"] == pytest.approx(0.6)


def test_stability_is_five_times_the_mean_over_pairs_of_kept_frames():
    raw = {"T": [0.09, 0.01, 0.03, 0.07, None]}
    assert of_sequence(raw, "davis2016")["T"] == pytest.approx(5 * 0.02)
    assert of_sequence(raw, "all_frames")["T"] == pytest.approx(5 * 0.05)
    assert of_sequence({"T": [None] * 5}, "davis2016")["T"] is None


def test_mean_over_sequences_not_over_frames():
    long = of_sequence({"J": [1.0] * 10, "F": [1.0] * 10}, "davis2016")
    short = of_sequence({"J": [0.0] * 3, "F": [0.5] * 3}, "davis2016")
    too_short = of_sequence({"J": [1.0] * 2, "F": [1.0] * 2}, "davis2016")  # nothing is left of it
    assert too_short["J"] == {"mean": None, "recall": None, "decay": None}
    assert too_short["J&F"] is None
    total = over_sequences([long, short, too_short], "davis2016")
    assert total["J"]["mean"] == 0.5
    assert total["J&F"] == pytest.approx((0.5 + 0.75) / 2)
    assert total["T"] is None
