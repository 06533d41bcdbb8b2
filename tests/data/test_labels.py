"""What is said of sequences that all mark the same, and of frames without a mask."""

import logging

import numpy as np
import pytest

from davis_exp.data.labels import alike, say_sparse


@pytest.fixture
def sequence(array_sequence):
    """A clip whose masks hold the values given, None where a frame has no mask."""

    class Marked(array_sequence):
        def __init__(self, *values):
            super().__init__("marked", len(values), labelled=values[0] is not None)
            self.values = values

        @property
        def annotated(self):
            return tuple(i for i, value in enumerate(self.values) if value is not None)

        def mask(self, i):
            value = self.values[i]
            assert value is not None, "a mask that is not there was read"
            return np.array([[value, value], [value, 0 if value == 2 else value]], np.uint8).clip(0, 1)

    return Marked


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([(0, 0), (0,)], "3 masks are all empty as they are read"),
        ([(1, None, 1)], "2 masks are all full as they are read"),
        ([(0, 1)], None),  # nothing in one, everything in another: something is told apart
        ([(0, 0), (0, 2)], None),
        ([(0, 0), (None, None)], None),  # a clip without masks: nothing is known of it
        ([], None),
    ],
)
def test_masks_that_are_all_the_same_are_told(sequence, values, said):
    line = alike([sequence(*clip) for clip in values])
    assert line is None if said is None else said in line and "data.masks" in line


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([(1, None, 1), (0, 0)], ["masks: of 4 of 5 frames; only these are scored"]),
        ([(1, 1), (None, None)], []),
    ],
)
def test_frames_without_a_mask_are_counted(sequence, values, said, caplog):
    caplog.set_level(logging.INFO)
    say_sparse([sequence(*clip) for clip in values], "scored")
    assert caplog.messages == said
