"""Probabilities carried along the flow, and masks followed as tracks: a moving object beside what only looks like it."""

import itertools
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from davis_exp.data.sequences import VideoSequence
from davis_exp.inference import Inference, predict
from davis_exp.inference import track as module
from davis_exp.utils.errors import BadInput

HEIGHT, WIDTH, SIDE = 96, 160, 24
STEP = 4  # pixels a frame
STILL = np.s_[60:84, 110:134]


class Distractors(VideoSequence):
    """Two textured squares, alike, on a textured ground: one moves to the right, one rests in the scene.

    The camera pans by `pan` pixels a frame. The answer of the model to frame i is `answers[i]`.
    """

    labelled = False
    name = "distractors"

    def __init__(self, n=12, pan=0, breaks_off=None):
        self.index = tuple(range(n))
        self.frame_ids = tuple(f"distractors/{i:05d}" for i in range(n))
        self.pan, self.breaks_off = pan, breaks_off
        random = np.random.default_rng(0)
        small = random.integers(40, 140, (HEIGHT // 4, WIDTH // 2, 1), np.uint8)
        self.ground = np.repeat(np.repeat(small, 4, 0), 4, 1)
        self.thing = np.repeat(np.repeat(random.integers(140, 255, (6, 6, 1), np.uint8), 4, 0), 4, 1)
        self.reads = 0

    @property
    def key(self):
        return "distractors"

    @property
    def size(self):
        return HEIGHT, WIDTH

    def places(self, i):
        left = 110 + 40 - self.pan * i
        return np.s_[10:34, 10 + STEP * i : 34 + STEP * i], np.s_[60:84, left - 40 : left - 16]

    def frame(self, i):
        self.reads += 1
        if self.breaks_off is not None and i >= self.breaks_off:
            raise BadInput("the film breaks off")
        frame = self.ground[:, self.pan * i : self.pan * i + WIDTH].copy()
        for place in self.places(i):
            frame[place] = self.thing
        return np.repeat(frame, 3, 2)

    def answer(self, i):
        probability = np.full((HEIGHT, WIDTH), 0.1, np.float32)
        for place in self.places(i):
            probability[place] = 0.9
        return probability

    def mask(self, i):
        raise BadInput("no masks")


class Answers(nn.Module):
    """Gives the answers of a clip in order, whatever it is shown."""

    needs_motion = False

    def __init__(self, clip, context=(0, 0)):
        super().__init__()
        self.context, self.next = context, 0
        self.answers = [clip.answer(i) for i in range(len(clip))]

    def forward(self, frames, motion=None, state=None):
        own = self.answers[self.next : self.next + frames.shape[1]]
        self.next += len(own)
        return SimpleNamespace(logits=torch.logit(torch.from_numpy(np.stack(own))[None, :, None]), aux={}), ()


def run(model, clip, **how):
    return [mask for _, mask in predict(model, clip, Inference(**how))]


def overlap(mask, place):
    return float((mask[place] >= 128).mean())


@pytest.mark.parametrize("context", [None, (0, 0)])
@pytest.mark.parametrize("pan", [0, 2])
@pytest.mark.parametrize("weight", ["motion", "speed"])
def test_what_rests_is_dropped_though_it_is_as_sure_and_as_large(pan, context, weight):
    clip = Distractors(pan=pan)
    before = run(Answers(clip, context), clip)
    after = run(Answers(clip, context), clip, track=weight)
    assert len(after) == len(before) == 12
    for i in range(12):
        moving, still = clip.places(i)
        assert overlap(before[i], moving) == overlap(before[i], still) == 1
        assert overlap(after[i], moving) == 1
        assert after[i][still].max() == 0
        np.testing.assert_array_equal(after[i][moving], before[i][moving])
    by_mass = run(Answers(clip, context), clip, track="mass")
    assert all(overlap(mask, clip.places(i)[1]) == 1 for i, mask in enumerate(by_mass))


def test_what_is_there_for_a_few_frames_has_little_mass():
    clip = Distractors()
    model = Answers(clip)
    for i in [*range(4), *range(6, 12)]:
        model.answers[i][clip.places(i)[1]] = 0.1
    after = run(model, clip, track="mass", track_share=0.25)
    for i, mask in enumerate(after):
        assert overlap(mask, clip.places(i)[0]) == 1
        assert overlap(mask, clip.places(i)[1]) == 0
    model.next = 0
    kept = run(model, clip, track="mass", track_share=0.1)
    assert overlap(kept[4], clip.places(4)[1]) == 1


def test_by_speed_a_short_track_that_moves_stays_and_what_rests_goes_where_nothing_else_is():
    clip = Distractors()
    model = Answers(clip)
    for i in (4, 7):  # nothing but what rests is found
        model.answers[i][clip.places(i)[0]] = 0.1
    for i in (5, 6):  # a track of its own: six columns of the object
        rows, columns = clip.places(i)[0]
        model.answers[i][rows, columns.start : columns.stop - 6] = 0.1
    after = run(model, clip, track="speed", track_share=0.25)
    assert [int(mask[clip.places(i)[1]].max()) for i, mask in enumerate(after)] == [0] * 12
    assert [overlap(after[i], clip.places(i)[0]) for i in (3, 4, 5, 6, 8)] == [1, 0, 0.25, 0.25, 1]
    model.next = 0
    by_motion = run(model, clip, track="motion", track_share=0.25)
    assert overlap(by_motion[4], clip.places(4)[1]) == 1  # the heaviest there


def test_by_speed_what_rests_goes_though_it_touches_the_object_for_a_while():
    clip = Distractors()
    model = Answers(clip)
    found = np.s_[60:72, 110:134]
    for answer in model.answers:  # half of what rests is found, the less of the two
        answer[72:84, 110:134] = 0.1
    for i in (5, 6):  # a bridge between the two
        moving, still = clip.places(i)
        model.answers[i][20:62, moving[1].stop - 2 : moving[1].stop] = 0.9
        model.answers[i][60:62, moving[1].stop : still[1].start] = 0.9
    after = run(model, clip, track="speed", track_share=0.25)
    assert all(overlap(mask, clip.places(i)[0]) == 1 for i, mask in enumerate(after))
    assert [overlap(mask, found) for mask in after] == [0] * 5 + [1] * 2 + [0] * 5
    model.next = 0
    by_motion = run(model, clip, track="motion", track_share=0.25)
    assert all(overlap(mask, found) == 1 for mask in by_motion)


def test_of_one_frame_no_speed_is_known():
    clip = Distractors(1)
    for weight in ("motion", "speed"):
        (mask,) = run(Answers(clip), clip, track=weight, track_share=1.0)
        assert [overlap(mask, place) for place in clip.places(0)] == [1, 1]


def test_a_track_goes_on_while_its_parts_overlap_and_tracks_that_meet_are_one():
    clip = Distractors(6)
    model = Answers(clip)
    for i in range(3, 6):  # a bridge between the two in the second half
        moving, still = clip.places(i)
        model.answers[i][moving[0].start : still[0].stop, moving[1].start : still[1].stop] = 0.9
    after = run(model, clip, track="motion")
    assert all(overlap(mask, clip.places(i)[1]) == 1 for i, mask in enumerate(after))


def test_one_object_alone_stays_whether_it_moves_or_not_and_nothing_is_nothing():
    clip = Distractors(4)
    for moves in (0, 1):
        model = Answers(clip)
        for i in range(4):
            model.answers[i][clip.places(i)[moves]] = 0.1
        for weight in ("motion", "speed"):
            model.next = 0
            after = run(model, clip, track=weight, track_share=1.0)
            assert all(overlap(mask, clip.places(i)[1 - moves]) == 1 for i, mask in enumerate(after))
    model = Answers(clip)
    model.answers = [np.full((HEIGHT, WIDTH), 0.1, np.float32)] * 4
    assert [int(mask.max()) for mask in run(model, clip, track="mass")] == [26] * 4  # as without it


def test_carrying_fills_a_hole_along_the_motion_and_leaves_the_ends_of_it_alone():
    clip = Distractors(5)
    model = Answers(clip)
    for i in (0, 1, 3, 4):
        model.answers[i][clip.places(i)[1]] = 0.1
    model.answers[2][:] = 0.1  # frame 2 missed the object
    model.answers[2][clip.places(2)[1]] = 0.9  # and found another thing instead
    moving, still = clip.places(2)
    inner = np.s_[moving[0].start + 4 : moving[0].stop - 4, moving[1].start + 4 : moving[1].stop - 4]
    after = run(model, clip, carry=1.0)
    # (0.1 + 0.9 + 0.9) / 3 where the object is, (0.9 + 0.1 + 0.1) / 3 where it is not
    assert np.median(after[2][inner]) == pytest.approx(255 * 1.9 / 3, abs=2)
    assert np.median(after[2][still]) == pytest.approx(255 * 1.1 / 3, abs=2)
    model.next = 0
    half = run(model, clip, carry=0.5)
    assert np.median(half[2][inner]) == pytest.approx(255 * 0.5, abs=2)


def test_where_the_flow_does_not_agree_nothing_is_carried():
    clip = Distractors(3)
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    frames = [clip.frame(0), noise, clip.frame(2)]  # another scene, for one frame
    clip.frame = frames.__getitem__
    plain, after = (run(Answers(clip), clip, carry=carry) for carry in (0.0, 1.0))
    changed = np.mean(np.abs(plain[1].astype(int) - after[1]) > 2)
    assert changed < 0.05


@pytest.mark.parametrize("context", [None, (0, 0)])
def test_steady_answers_stay_as_they_are(context):
    clip = Distractors(20)
    model = Answers(clip, context)
    model.answers = [np.full((HEIGHT, WIDTH), 0.8, np.float32)] * 20
    masks = run(model, clip, carry=1.0, track="motion", flip=False, scales=(1.0,))
    assert len(masks) == 20
    assert all(np.abs(mask.astype(int) - 204).max() <= 1 for mask in masks)


@pytest.mark.parametrize("how", [{}, {"carry": 0.5}, {"track": "motion"}, {"carry": 0.5, "track": "mass"}])
def test_mirrored_answers_and_scales_go_with_both(how):
    clip = Distractors(3)

    class Bright(nn.Module):
        needs_motion, context = False, (1, 1)

        def forward(self, frames, motion=None, state=None):
            return SimpleNamespace(logits=40 * (frames[:, :, :1] - 0.55), aux={}), ()

    masks = run(Bright(), clip, flip=True, scales=(1.0, 1.5), window=2, stride=1, size=(48, 80), **how)
    assert [mask.shape for mask in masks] == [(HEIGHT, WIDTH)] * 3
    assert overlap(masks[1], clip.places(1)[0]) > 0.5


def test_frames_of_several_sizes_are_not_compared():
    class Mixed(Distractors):
        def frame(self, i):
            return super().frame(i)[: HEIGHT - 8 * i]

        def answer(self, i):
            return super().answer(i)[: HEIGHT - 8 * i]

    clip = Mixed(3)
    masks = run(Answers(clip, None), clip, carry=1.0, track="motion", track_share=0.0)
    assert [mask.shape[0] for mask in masks] == [96, 88, 80]
    assert overlap(masks[2], clip.places(2)[0]) == 1


def test_what_came_before_a_film_breaks_off_comes_out():
    clip = Distractors(20, breaks_off=13)
    given = predict(Answers(clip), clip, Inference(window=4, stride=4, track="motion"))
    found = [(i, overlap(mask, clip.places(i)[0])) for i, mask in itertools.islice(given, 12)]
    assert found == [(i, 1.0) for i in range(12)]
    with pytest.raises(BadInput, match="breaks off"):
        next(given)


def test_a_long_sequence_waits_in_little_memory(monkeypatch):
    monkeypatch.setattr(module, "IN_MEMORY", 2**12)
    clip = Distractors(24)
    maps = 300
    answers = [clip.answer(i) for i in range(24)]
    greys = [clip.frame(i)[..., 0] for i in range(24)]
    flows = module.Neighbours()

    def stream():
        for i in range(maps):
            flows.add(i, greys[min(i % 46, 46 - i % 46)])
            yield answers[min(i % 46, 46 - i % 46)]

    tracemalloc.start()
    kept = sum(1 for _ in module.tracked(stream(), flows, "mass", 0.2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept == maps
    assert peak < 3e6 < maps * HEIGHT * WIDTH  # all maps at 8 bits would be 4.6 MB


@pytest.mark.parametrize(
    "how",
    [{"carry": -0.1}, {"carry": 1.5}, {"track": "size"}, {"track": True}, {"track_share": 2.0}],
)
def test_settings_that_make_no_sense_are_refused(how):
    (name,) = how
    with pytest.raises(BadInput, match=rf"inference\.{name}: must"):
        Inference(**how)
