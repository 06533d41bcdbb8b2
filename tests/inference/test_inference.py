"""Inference against models whose answers are known by arithmetic: what is seen, how often, and what comes out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from davis_exp.data import flow_geometry
from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import VideoSequence
from davis_exp.inference import Inference, predict, spans
from davis_exp.inference.views import more_confident
from davis_exp.utils.errors import BadInput


class Ramp(VideoSequence):
    """`n` frames; frame i is everywhere i (grey)."""

    labelled = False
    key = "ramp"

    def __init__(self, n, size=(6, 8)):
        self.name, self.index = "ramp", tuple(range(n))
        self.frame_ids = tuple(f"ramp/{i:05d}" for i in range(n))
        self._size = size
        self.read = []

    @property
    def size(self):
        return self._size

    def frame(self, i):
        self.read.append(i)
        return np.full((*self._size, 3), i, np.uint8)

    def mask(self, i):
        raise BadInput("no masks")


class Recorder(nn.Module):
    """Answers frame i with probability i/255, plus what it is told to add for its place in the window."""

    def __init__(self, context, by_place=0.0):
        super().__init__()
        self.context, self.by_place, self.windows = context, by_place, []
        self.needs_motion = False

    def forward(self, frames, motion=None, state=None):
        grey = frames[:, :, :1]  # (1, T, 1, h, w)
        self.windows.append([round(float(v) * 255) for v in grey[0, :, 0, 0, 0]])
        probability = grey + self.by_place * torch.arange(grey.shape[1]).view(1, -1, 1, 1, 1)
        state = (torch.zeros(1) if state is None else state[0] + 1,) if self.context is None else None
        return SimpleNamespace(logits=torch.logit(probability.clamp(1e-6, 1 - 1e-6)), aux={}), state


def run(model, sequence, **how):
    return list(predict(model, sequence, Inference(**how)))


@pytest.mark.parametrize("n", [1, 3, 8, 9, 13, 18, 23, 60])
@pytest.mark.parametrize("context", [None, (0, 0), (3, 4)])
def test_every_frame_gets_exactly_one_mask_in_order(n, context):
    sequence = Ramp(n)
    given = run(Recorder(context), sequence, window=8, stride=5)
    assert [i for i, _ in given] == list(range(n))
    assert [int(mask[0, 0]) for _, mask in given] == list(range(n))
    assert all(mask.shape == (6, 8) and mask.dtype == np.uint8 for _, mask in given)
    assert sorted(set(sequence.read)) == list(range(n))


def test_each_frame_is_read_once():
    sequence = Ramp(30)
    run(Recorder((3, 4)), sequence, window=8, stride=5)
    assert sorted(sequence.read) == list(range(30))


def test_streaming_shows_one_frame_at_a_time():
    model = Recorder(None)
    run(model, Ramp(4))
    assert model.windows == [[0], [1], [2], [3]]


def test_independent_frames_are_computed_once():
    model = Recorder((0, 0))
    run(model, Ramp(11), window=4, stride=1)
    assert model.windows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_overlapping_windows_are_averaged():
    # Windows start at 0, 2 and 3 (drawn back); each adds 0.1 × the frame's place in it.
    model = Recorder((1, 1), by_place=0.1)
    given = dict(run(model, Ramp(7), window=4, stride=2))
    assert model.windows == [[0, 1, 2, 3], [2, 3, 4, 5], [3, 4, 5, 6]]
    places = {0: [0], 1: [1], 2: [2, 0], 3: [3, 1, 0], 4: [2, 1], 5: [3, 2], 6: [3]}
    for i, seen in places.items():
        assert int(given[i][0, 0]) == pytest.approx(i + 255 * 0.1 * np.mean(seen), abs=0.51)


def test_spans_cover_and_end_with_the_sequence():
    assert spans(5, 8, 5) == [(0, 5)]
    assert spans(8, 8, 5) == [(0, 8)]
    assert spans(20, 8, 5) == [(0, 8), (5, 13), (10, 18), (12, 20)]


def test_masks_come_back_at_the_frames_own_size():
    seen = []
    model = Recorder((0, 0))
    model.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape[-2:]))
    given = run(model, Ramp(2, size=(11, 17)), size=(4, 6))
    assert seen == [(4, 6)]
    assert given[0][1].shape == (11, 17)


@pytest.mark.parametrize(
    "how",
    [
        {"window": 0},
        {"stride": 0},
        {"window": 3, "stride": 4},
        {"size": (0, 5)},
        {"scales": ()},
        {"scales": (0.0,)},
    ],
)
def test_settings_that_cannot_work_are_refused(how):
    with pytest.raises(BadInput, match=r"inference\."):
        Inference(**how)


def test_frames_of_several_sizes_need_a_size():
    class Mixed(Ramp):
        def frame(self, i):
            return np.zeros((6 + i, 8, 3), np.uint8)

    with pytest.raises(BadInput, match=r"several sizes.*inference\.size"):
        run(Recorder((0, 0)), Mixed(3))
    given = run(Recorder((0, 0)), Mixed(3), size=(6, 8))
    assert [mask.shape for _, mask in given] == [(6, 8), (7, 8), (8, 8)]


class Edges(nn.Module):
    """Answers with what it is shown: the probability is the frame's grey, or the motion picture's."""

    needs_motion, context = True, (0, 0)

    def forward(self, frames, motion=None, state=None):
        return SimpleNamespace(logits=torch.logit(motion[:, :, :1].clamp(1e-6, 1 - 1e-6)), aux={}), ()


class Gradient(Ramp):
    """Brightness rises from left to right: mirrored, it would be another picture."""

    def frame(self, i):
        row = np.linspace(10, 240, self._size[1]).astype(np.uint8)
        return np.broadcast_to(row[None, :, None], (*self._size, 3)).copy()


def test_mirrored_answers_are_mirrored_back():
    plain = dict(run(Recorder((0, 0)), Gradient(2)))
    model = Recorder((0, 0))
    both = dict(run(model, Gradient(2), flip=True))
    assert len(model.windows) == 2
    assert model.windows[0] != model.windows[1]  # the second look was at the mirrored clip
    np.testing.assert_array_equal(both[1], plain[1])


def test_scales_change_what_is_seen_not_what_is_given():
    seen = []
    model = Recorder((0, 0))
    model.register_forward_pre_hook(lambda m, args: seen.append(tuple(args[0].shape[-2:])))
    given = run(model, Ramp(3, size=(12, 16)), scales=(0.5, 1.0, 1.5))
    assert seen == [(6, 8), (12, 16), (18, 24)]
    assert [int(mask[0, 0]) for _, mask in given] == [0, 1, 2]


def test_each_view_of_a_streaming_model_has_its_own_state():
    states = []
    model = Recorder(None)
    model.register_forward_hook(lambda m, args, out: states.append(float(out[1][0])))
    run(model, Ramp(3), flip=True)
    assert states == [0, 0, 1, 1, 2, 2]


class Rightwards(MotionSource):
    def vectors(self, sequence, i, gap=None):
        return np.stack([np.full((3, 4), 2.0), np.zeros((3, 4))]).astype(np.float32)


def test_motion_is_a_picture_of_the_frames_size_and_mirrored_as_vectors():
    seen = []
    model = Edges()
    model.register_forward_pre_hook(lambda m, args: seen.append(args[1]))
    list(predict(model, Ramp(1), Inference(flip=True), motion=Rightwards()))
    right, left = seen
    assert right.shape == (1, 1, 3, 6, 8)
    # Grown to twice its size, two pixels become four; mirrored, they point the other way.
    expected = [
        flow_geometry.picture(np.stack([np.full((6, 8), u), np.zeros((6, 8))]).astype(np.float32))
        for u in (4, -4)
    ]
    np.testing.assert_allclose(right[0, 0].numpy() * 255, expected[0], atol=0.6)
    np.testing.assert_allclose(left[0, 0].numpy() * 255, expected[1], atol=0.6)


def painted(x, y):
    """The colour, RGB, of a field that is (x, y) everywhere."""
    field = np.stack([np.full((6, 8), x), np.full((6, 8), y)]).astype(np.float32)
    return tuple(map(int, flow_geometry.picture(field)[:, 0, 0]))


class Gaps(MotionSource):
    """As many pixels down, or sideways, as the frame that it leads to is later."""

    def __init__(self, moves=True, sideways=False):
        self.moves, self.sideways, self.asked = moves, sideways, []

    def vectors(self, sequence, i, gap=None):
        self.asked.append((i, gap))
        field = [np.full((6, 8), gap), np.zeros((6, 8))]
        return np.stack(field if self.sideways else field[::-1]).astype(np.float32) if self.moves else None


class Motion(Recorder):
    """Answers each frame with the mean of its motion picture's red."""

    def __init__(self):
        super().__init__((0, 0))
        self.needs_motion, self.pictures = True, []

    def forward(self, frames, motion=None, state=None):
        self.pictures.append(tuple((255 * motion[0, 0, :, 0, 0]).round().int().tolist()))
        return super().forward(motion, None, state)


def test_the_answers_with_motion_over_several_gaps_are_averaged():
    model, source = Motion(), Gaps()
    given = dict(predict(model, Ramp(3), Inference(flow_gaps=(1, -2)), motion=source))
    assert source.asked == [(i, gap) for i in range(3) for gap in (1, -2)]
    # One pass for each gap over the whole chunk of frames; the second sees the clip mirrored, and so its motion.
    upwards, downwards = (painted(0, v) for v in (1, -2))
    assert model.pictures == [upwards, downwards]
    assert int(given[1][0, 0]) == pytest.approx((upwards[0] + downwards[0]) / 2, abs=0.51)


@pytest.mark.parametrize("flip", [False, True])
def test_every_other_gap_sees_the_clip_mirrored(flip):
    model, seen = Motion(), []
    model.register_forward_pre_hook(lambda m, args: seen.append(bool(args[0][0, 0, 0, 0, 0] > 0.5)))
    how = Inference(flow_gaps=(1, -2, 3), flip=flip)
    list(predict(model, Gradient(1), how, motion=Gaps(sideways=True)))
    assert seen == [False, True, False, *([True, False, True] if flip else [])]
    right, left = painted(1, 0), painted(-1, 0)
    assert model.pictures == [right, right, right, *([left, left, left] if flip else [])]


def test_each_answer_to_a_mirrored_clip_is_mirrored_back():
    class Grey(Motion):
        def forward(self, frames, motion=None, state=None):
            return Recorder.forward(self, frames)

    once, twice = (
        dict(predict(Grey(), Gradient(1), Inference(flow_gaps=gaps), motion=Gaps()))
        for gaps in ((1,), (1, 2))
    )
    np.testing.assert_array_equal(once[0], twice[0])


def test_frames_that_are_their_own_motion_are_seen_once():
    model, source = Motion(), Gaps(moves=False)
    given = dict(predict(model, Ramp(3), Inference(flow_gaps=(1, -1, 2)), motion=source))
    assert len(model.pictures) == 1
    assert [int(given[i][0, 0]) for i in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("gaps", [(), (0,), (1, 1), (5,), (-5,), (1.0,), (True,), ([1],), "12", 1])
def test_gaps_that_are_none_are_refused(gaps):
    with pytest.raises(BadInput, match=r"inference\.flow_gaps: must be null, or whole numbers from -4 to 4"):
        Inference(flow_gaps=gaps)


def test_select_motion_keeps_the_surer_background():
    one, two = torch.full((2, 4, 4), 0.09), torch.full((2, 4, 4), 0.5)
    one[1], two[1] = 0.5, 0.01
    chosen = more_confident(one, two)
    assert torch.equal(chosen[0], one[0])
    assert torch.equal(chosen[1], two[1])


def test_motion_that_is_missing_or_not_wanted_is_refused():
    with pytest.raises(BadInput, match="needs motion"):
        list(predict(Edges(), Ramp(1), Inference()))
    with pytest.raises(BadInput, match=r"inference\.select_motion"):
        list(predict(Recorder((0, 0)), Ramp(1), Inference(select_motion=True)))
    with pytest.raises(BadInput, match=r"inference\.flow_gaps: this model takes no motion"):
        list(predict(Recorder((0, 0)), Ramp(1), Inference(flow_gaps=(1, -1))))


def test_passes_count_the_arithmetic():
    assert Inference().passes == 1
    assert Inference(flip=True, scales=(0.5, 1.0), select_motion=True).passes == 5
    assert Inference(flip=True, flow_gaps=(1, -1, 2), select_motion=True).passes == 8


def test_another_engine_has_the_cores_for_itself_and_whoever_asks_has_his_threads_back():
    class Other(Recorder):
        own_threads = True

        def forward(self, *given):
            seen.append(torch.get_num_threads())
            return super().forward(*given)

    seen, between, before = [], [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in predict(Other(None), Ramp(3), Inference()):
            between.append(torch.get_num_threads())
        assert (seen, between) == ([1, 1, 1], [2, 2, 2])
    finally:
        torch.set_num_threads(before)
