import numpy as np
import pytest
import torch

from davis_exp.data.clips import ClipDataset, ClipSampler
from davis_exp.data.flow import MotionSource
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput


def numbers(clip):
    """The number of each frame in its sequence (see ArraySequence)."""
    return clip["frames"][:, 0, 0, 0].tolist()


def test_shapes_and_that_masks_belong_to_their_frames(array_sequence, unchanged):
    clips = ClipDataset([array_sequence("a", 12)], 4, augmentation=unchanged)
    clip = clips[0, 0]
    assert clip["frames"].shape == (4, 3, 20, 30)
    assert clip["masks"].shape == (4, 1, 20, 30)
    assert clip["frames"].dtype == clip["masks"].dtype == torch.uint8
    assert (clip["masks"].sum(dim=(1, 2, 3)) // 20 - 1).tolist() == numbers(clip)


def test_items_are_a_function_of_seed_epoch_and_item(array_sequence, unchanged):
    sequences = [array_sequence("a", 30), array_sequence("b", 40)]
    one, two = (ClipDataset(sequences, 3, augmentation=unchanged, seed=5) for _ in range(2))
    drawn = [numbers(one[e, i]) for e in (0, 1) for i in range(len(one))]
    assert drawn == [numbers(two[e, i]) for e in (0, 1) for i in range(len(one))]
    assert drawn[: len(one)] != drawn[len(one) :]
    other = ClipDataset(sequences, 3, augmentation=unchanged, seed=6)
    assert drawn[: len(one)] != [numbers(other[0, i]) for i in range(len(one))]


def test_strides_and_reversal(array_sequence, unchanged):
    clips = ClipDataset([array_sequence("a", 50)], 3, augmentation=unchanged, stride=(2, 4), clips=300)
    steps = [np.diff(numbers(clips[0, i])) for i in range(300)]
    assert {int(s[0]) for s in steps} == {-4, -3, -2, 2, 3, 4}
    assert all(s[0] == s[1] for s in steps)
    assert 100 < sum(s[0] < 0 for s in steps) < 200
    forward = ClipDataset([array_sequence("a", 50)], 3, augmentation=unchanged, reverse=0.0, clips=50)
    assert all(np.diff(numbers(forward[0, i])).min() > 0 for i in range(50))


def test_an_epoch_covers_all_frames_evenly(array_sequence, unchanged):
    sequences = [array_sequence("a", 20, tint=1), array_sequence("b", 60, tint=2)]
    clips = ClipDataset(sequences, 1, augmentation=unchanged, stride=(1, 1))
    assert len(clips) == 80
    counts = np.zeros((3, 60))
    for epoch in range(20):
        tints = []
        for item in range(80):
            frame = clips[epoch, item]["frames"][0, :, 0, 0]
            counts[int(frame[1]), int(frame[0])] += 1
            tints.append(int(frame[1]))
        assert tints.count(1) == 20
    assert counts[1, :20].sum() == 400
    assert counts[2].min() >= 20
    assert counts[1, :20].min() >= 20


def test_every_start_is_reached(array_sequence, unchanged):
    clips = ClipDataset(
        [array_sequence("a", 6)], 4, augmentation=unchanged, stride=(1, 1), reverse=0.0, clips=60
    )
    assert {tuple(numbers(clips[0, i])) for i in range(60)} == {(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)}


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (5, {(0, 2, 4), (0, 1, 2), (1, 2, 3), (2, 3, 4)}),
        (3, {(0, 1, 2)}),
        (2, {(0, 1, 0), (1, 0, 1)}),
        (1, {(0, 0, 0)}),
    ],
)
def test_short_sequences_reduce_the_stride_and_then_run_back(array_sequence, length, expected, unchanged):
    clips = ClipDataset([array_sequence("a", length)], 3, augmentation=unchanged, reverse=0.0, clips=100)
    seen = {tuple(numbers(clips[0, i])) for i in range(100)}
    assert seen <= expected
    assert len(seen) >= min(len(expected), 1 if length < 3 else len(expected))


def test_frames_of_unequal_size_are_refused(array_sequence, unchanged):
    class Growing(array_sequence):
        def frame(self, i):
            return np.zeros((20 + i, 30, 3), np.uint8)

    with pytest.raises(BadInput, match="grow differ in size"):
        ClipDataset([Growing("grow", 8)], 2, augmentation=unchanged)[0, 0]


def test_frames_are_read_no_larger_than_the_change_wants_them(array_sequence, unchanged):
    class Asked(array_sequence):
        def reduced(self, i, halvings):
            asked.append((i, halvings))
            return super().reduced(i, halvings)

    class Coarse(type(unchanged)):
        def halvings(self, size):
            assert size == (20, 30)
            return 1

    asked = []
    clip = ClipDataset([Asked("a", 9)], 3, augmentation=Coarse())[0, 0]
    assert clip["frames"].shape == (3, 3, 10, 15)
    assert asked == [(i, 1) for i in numbers(clip)]


def test_sampler_is_a_seeded_permutation_that_changes_with_the_epoch():
    sampler = ClipSampler(20, seed=1)
    first = list(sampler)
    assert first == list(sampler) == list(ClipSampler(20, seed=1))
    assert sorted(first) == [(0, i) for i in range(20)]
    assert first != sorted(first)
    sampler.set_epoch(3)
    assert {epoch for epoch, _ in sampler} == {3}
    assert [i for _, i in sampler] != [i for _, i in first]
    assert list(ClipSampler(20, seed=2)) != first


@pytest.mark.parametrize(("clips", "world"), [(20, 4), (10, 4), (2, 3)])
def test_ranks_share_an_epoch_out_evenly(clips, world):
    shares = [list(ClipSampler(clips, 1, rank, world)) for rank in range(world)]
    assert {len(share) for share in shares} == {len(ClipSampler(clips, 1, 0, world))} == {-(-clips // world)}
    assert {item for share in shares for _, item in share} == set(range(clips))
    together = [item for group in zip(*shares, strict=True) for _, item in group]
    assert together[:clips] == [item for _, item in ClipSampler(clips, 1, 0, 1)]


def test_rank_is_that_of_the_process(monkeypatch):
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert list(ClipSampler(9)) == list(ClipSampler(9, 0, 1, 2))


# ---- weights, stills, motion ------------------------------------------------------------------------


class Turning(MotionSource):
    """At frame i the motion ((i + 1) · gap, 0), which is to the right."""

    def __init__(self):
        self.asked = []

    def vectors(self, sequence, i, gap=None):
        self.asked.append(gap)
        return (
            None
            if sequence.still
            else np.full((2, 10, 15), (i + 1) * (gap or 1), np.float32) * [[[1]], [[0]]]
        )


def test_weights_share_clips_out_in_every_epoch(array_sequence, unchanged):
    sequences = [array_sequence("a", 20, tint=1), array_sequence("b", 60, tint=2)]
    clips = ClipDataset(sequences, 1, augmentation=unchanged, weights=[9 / 20, 3 / 60], clips=40)
    for epoch in range(3):
        drawn = [int(clips[epoch, item]["frames"][0, 1, 0, 0]) for item in range(40)]
        assert (drawn.count(1), drawn.count(2)) == (30, 10)
    assert len(ClipDataset(sequences, 4, augmentation=unchanged, weights=[1e-9, 1e-9])) == 20


def test_the_last_item_stays_inside_whatever_is_rounded(array_sequence, monkeypatch, unchanged):
    clips = ClipDataset([array_sequence("a", 7)], 1, augmentation=unchanged, weights=[0.1 / 3], clips=3)

    class Almost:
        def random(self):
            return 1.0  # what 1 − 2⁻⁵³ may be rounded to

        def integers(self, low, high):
            return 1

    assert clips.draw(2, Almost())[1] == [6]


def test_no_motion_unless_asked_for(array_sequence, unchanged):
    assert set(ClipDataset([array_sequence("a")], 2, augmentation=unchanged)[0, 0]) == {"frames", "masks"}


def test_motion_turns_with_the_direction_of_play(array_sequence, unchanged):
    clips = ClipDataset([array_sequence("a", 20)], 3, augmentation=unchanged, motion=Turning(), clips=40)
    seen = set()
    for item in range(40):
        clip = clips[0, item]
        assert clip["motion"].dtype == torch.uint8
        assert clip["motion"].shape == (3, 3, 10, 15)
        backwards = numbers(clip)[0] > numbers(clip)[1]
        red = clip["motion"][:, 0, 0, 0].tolist()  # all of it to the right, none of it to the left
        assert red == [0 if backwards else 255] * 3
        seen.add(backwards)
    assert seen == {False, True}


def test_a_clip_of_one_frame_has_its_own_motion(array_sequence, unchanged):
    clips = ClipDataset([array_sequence("a", 20)], 1, augmentation=unchanged, motion=Turning(), clips=20)
    assert {int(clips[0, item]["motion"][0, 0, 0, 0]) for item in range(20)} == {255}


def test_running_back_and_forth_turns_motion_too(array_sequence, unchanged):
    clips = ClipDataset([array_sequence("a", 3)], 5, augmentation=unchanged, motion=Turning(), reverse=0.0)
    clip = clips[0, 0]
    assert numbers(clip) == [0, 1, 2, 1, 0]
    assert clip["motion"][:, 0, 0, 0].tolist() == [255, 255, 0, 0, 0]


def test_motion_leads_as_far_as_one_of_the_gaps_drawn_for_each_clip(array_sequence, unchanged):
    motion = Turning()
    given = {"augmentation": unchanged, "clips": 40, "reverse": 0.0}
    clips = ClipDataset([array_sequence("a", 20)], 3, **given, motion=motion, flow_gaps=(1, -4))
    usual = ClipDataset([array_sequence("a", 20)], 3, **given, motion=Turning())
    seen = set()
    for item in range(40):
        motion.asked.clear()
        clip = clips[0, item]
        (gap,) = set(motion.asked)  # one for all frames of a clip
        assert clip["motion"][:, 0, 0, 0].tolist() == [255 if gap == 1 else 0] * 3
        assert numbers(clip) == numbers(usual[0, item]), "nothing else is drawn otherwise"
        seen.add(gap)
    assert seen == {1, -4}


def test_gaps_need_motion(array_sequence, unchanged):
    with pytest.raises(BadInput, match=r"^data\.flow_gaps: this model takes no motion"):
        ClipDataset([array_sequence("a")], 2, augmentation=unchanged, flow_gaps=(1, -1))


def test_stills_are_their_own_motion_and_move_anew_each_time(array_sequence, unchanged):
    class Still(array_sequence):
        still = True

        def variant(self, seed):
            return Still(self.name, len(self), tint=sum(seed))

    clips = ClipDataset([Still("a", 9)], 3, augmentation=unchanged, motion=Turning(), seed=5)
    clip = clips[2, 1]
    assert torch.equal(clip["motion"], clip["frames"])
    assert clip["frames"][0, 1, 0, 0] == 5 + 2 + 1
    assert clips[1, 0]["frames"][0, 1, 0, 0] == 5 + 1 + 0
