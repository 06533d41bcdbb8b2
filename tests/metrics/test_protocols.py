"""The three protocols, by hand."""

import numpy as np
import pytest

from davis_exp.metrics.bits import Bits
from davis_exp.metrics.protocols import (
    FrameScores,
    binarise,
    contest,
    frame_scores,
    over_sequences,
    sequence_statistics,
)


def test_every_confidence_is_rounded_like_the_judge_does():
    confidence = np.arange(256, dtype=np.uint8)[None]
    judge = np.array([round(value / 255) for value in range(256)], bool)[None]
    assert np.array_equal(binarise(confidence).unpack(), judge)
    assert judge[0, 127] == 0
    assert judge[0, 128] == 1


def test_contest_leaves_out_empty_frames_only():
    assert contest([0.5, None, 1.0, 0.0]) == {
        "segmentation_metric": 0.5,
        "mean_iou": 0.5,
        "frames": 3,
        "excluded": 1,
    }
    assert contest([None, None])["segmentation_metric"] is None
    assert contest([None, None])["excluded"] == 2


def test_both_empty_counts_for_davis_but_not_for_the_contest():
    empty = Bits.of(np.zeros((8, 8), bool))
    assert frame_scores(empty, empty) == FrameScores(None, 1.0, 1.0)
    one = Bits.of(np.eye(8, dtype=bool))
    assert frame_scores(one, empty)[:2] == (0.0, 0.0)


def test_davis2016_drops_the_first_and_last_frame():
    frames = [FrameScores(0, 0.0, 0.0)] + [FrameScores(0.8, 0.8, 0.6)] * 3 + [FrameScores(0, 0.0, 0.0)]
    official, all_frames = (sequence_statistics(frames, name) for name in ("davis2016", "all_frames"))
    assert official["J"]["mean"] == pytest.approx(0.8)
    assert official["J&F"] == pytest.approx(0.7)
    assert official["J"]["recall"] == 1.0
    assert all_frames["J"]["mean"] == pytest.approx(0.48)
    assert all_frames["J"]["recall"] == pytest.approx(0.6)


def test_stability_is_five_times_the_mean_over_pairs_of_kept_frames():
    frames = [FrameScores(1, 1, 1, t) for t in (0.09, 0.01, 0.03, 0.07, None)]
    assert sequence_statistics(frames, "davis2016")["T"] == pytest.approx(5 * 0.02)
    assert sequence_statistics(frames, "all_frames")["T"] == pytest.approx(5 * 0.05)
    assert sequence_statistics([FrameScores(1, 1, 1)] * 5, "davis2016")["T"] is None


def test_mean_over_sequences_not_over_frames():
    long = sequence_statistics([FrameScores(1, 1.0, 1.0)] * 10, "davis2016")
    short = sequence_statistics([FrameScores(0, 0.0, 0.5)] * 3, "davis2016")
    too_short = sequence_statistics([FrameScores(1, 1.0, 1.0)] * 2, "davis2016")  # nothing is left of it
    assert too_short["J"] == {"mean": None, "recall": None, "decay": None}
    assert too_short["J&F"] is None
    total = over_sequences({"long": long, "short": short, "too short": too_short})
    assert total["J"]["mean"] == 0.5
    assert total["J&F"] == pytest.approx((0.5 + 0.75) / 2)
    assert total["T"] is None
