"""The table of measures: what a row promises."""

import numpy as np
import pytest

from davis_exp.metrics.bits import Bits
from davis_exp.metrics.measures import JUDGED, MEASURES, OVERALL, PROTOCOLS, Measure, columns
from davis_exp.metrics.protocols import frame_scores, summary

RAW = {
    "iou": [1.0, None, 0.5, 0.25],
    "J": [1.0, 1.0, 0.5, 0.25],
    "F": [0.5, 1.0, 0.0, 0.25],
    "T": [0.1, 0.2, 0.3, None],
}


def test_every_row_measures_what_it_says_it_does():
    mask = Bits.of(np.pad(np.ones((20, 20), bool), 20))
    empty = Bits.of(np.zeros((60, 60), bool))
    own = {measure.key: measure for measure in MEASURES.values()}
    for prediction, value in ((mask, 1.0), (empty, 0.0)):
        found = frame_scores(prediction, mask)
        assert set(found.values()) == {value}
        assert all(own[key].higher_is_better for key in found)
    for key, value in frame_scores(empty, empty).items():
        assert value == 1.0 or (value is None and own[key].gaps)
    assert MEASURES["T"](mask, mask) == pytest.approx(0.0)


def test_frames_that_a_protocol_counts():
    j, t, both = (MEASURES[name] for name in ("J", "T", "J&F"))
    assert j.of_frames(RAW) == j.of_frames(RAW, "all_frames") == RAW["J"]
    assert j.of_frames(RAW, "davis2016") == [1.0, 0.5]
    assert t.of_frames(RAW, "davis2016") == [5 * 0.2]  # of the pairs that both count
    assert t.of_frames(RAW, "all_frames") == pytest.approx([0.5, 1.0, 1.5])
    assert both.of_frames(RAW) == [0.75, 1.0, 0.25, 0.25]
    assert j.of_frames({}) == both.of_frames({}) == []
    for protocol in PROTOCOLS:
        assert t.of_frames({"T": [None]}, protocol) == j.of_frames({"J": []}, protocol) == []


def test_figures_and_their_text():
    scored = summary({"x": (list("abcd"), RAW)})
    assert JUDGED.figure(scored) == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert OVERALL.figure(scored) == pytest.approx((0.75 + 0.5) / 2)
    assert OVERALL.figure(scored, "all_frames") == pytest.approx((2.75 / 4 + 1.75 / 4) / 2)
    assert MEASURES["T"].figure(scored["sequences"]["x"]) == pytest.approx(1.0)
    assert MEASURES["BIoU"].figure(scored) is None
    assert MEASURES["BIoU"].figure({}) is None
    assert JUDGED.text(0.12345) == "12.35"
    assert JUDGED.text(-0.01, "+.1f") == "-1.0"
    assert JUDGED.text(None) == "-"
    distance = Measure("D", "a distance", lambda a, b: 0.0, unit="px", higher_is_better=False)
    assert (distance.text(3.0), distance.heading) == ("3.00", "D (px)")
    assert sorted([None, 2.0, 1.0, 3.0], key=distance.rank) == [1.0, 2.0, 3.0, None]
    assert sorted([None, 2.0, 1.0, 3.0], key=JUDGED.rank) == [3.0, 2.0, 1.0, None]


def test_what_takes_long_has_a_column_only_where_it_was_measured():
    quick = {**RAW, "T": [None] * 4}
    with_t, without = (summary({"x": (list("abcd"), raw)}) for raw in (RAW, quick))
    assert [measure.name for measure in columns([without])] == ["IoU", "J", "F", "J&F", "BIoU"]
    assert [measure.name for measure in columns([without, with_t])] == ["IoU", "J", "F", "J&F", "T", "BIoU"]
    assert [measure.name for measure in columns([with_t], "contest")] == ["IoU"]


def test_a_row_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="measure X: give it a function or parts"):
        Measure("X", "nothing")
    with pytest.raises(ValueError, match="measure X: give it a function or parts"):
        Measure("X", "both", lambda a, b: 1.0, parts=("J",))
    with pytest.raises(ValueError, match=r"protocols are .*contest.*davis2016.*all_frames"):
        Measure("X", "elsewhere", lambda a, b: 1.0, protocols=("davis2017",))
