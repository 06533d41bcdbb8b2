import numpy as np
import pytest
import torch

from davis_exp.data.clips import ClipDataset, ClipSampler
from davis_exp.errors import BadInput


def unchanged(frames, masks, rng):
    return frames, masks


def numbers(clip):
    """The number of each frame in its sequence (see ArraySequence)."""
    return clip["frames"][:, 0, 0, 0].tolist()


def test_shapes_and_that_masks_belong_to_their_frames(array_sequence):
    clips = ClipDataset([array_sequence("a", 12)], 4, augmentation=unchanged)
    clip = clips[0, 0]
    assert clip["frames"].shape == (4, 3, 20, 30)
    assert clip["masks"].shape == (4, 1, 20, 30)
    assert clip["frames"].dtype == clip["masks"].dtype == torch.uint8
    assert (clip["masks"].sum(dim=(1, 2, 3)) // 20 - 1).tolist() == numbers(clip)


def test_items_are_a_function_of_seed_epoch_and_item(array_sequence):
    sequences = [array_sequence("a", 30), array_sequence("b", 40)]
    one, two = (ClipDataset(sequences, 3, augmentation=unchanged, seed=5) for _ in range(2))
    drawn = [numbers(one[e, i]) for e in (0, 1) for i in range(len(one))]
    assert drawn == [numbers(two[e, i]) for e in (0, 1) for i in range(len(one))]
    assert drawn[: len(one)] != drawn[len(one) :]
    other = ClipDataset(sequences, 3, augmentation=unchanged, seed=6)
    assert drawn[: len(one)] != [numbers(other[0, i]) for i in range(len(one))]


def test_strides_and_reversal(array_sequence):
    clips = ClipDataset([array_sequence("a", 50)], 3, augmentation=unchanged, stride=(2, 4), clips=300)
    steps = [np.diff(numbers(clips[0, i])) for i in range(300)]
    assert {int(s[0]) for s in steps} == {-4, -3, -2, 2, 3, 4}
    assert all(s[0] == s[1] for s in steps)
    assert 100 < sum(s[0] < 0 for s in steps) < 200
    forward = ClipDataset([array_sequence("a", 50)], 3, augmentation=unchanged, reverse=0.0, clips=50)
    assert all(np.diff(numbers(forward[0, i])).min() > 0 for i in range(50))


def test_an_epoch_covers_all_frames_evenly(array_sequence):
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


def test_every_start_is_reached(array_sequence):
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
def test_short_sequences_reduce_the_stride_and_then_run_back(array_sequence, length, expected):
    clips = ClipDataset([array_sequence("a", length)], 3, augmentation=unchanged, reverse=0.0, clips=100)
    seen = {tuple(numbers(clips[0, i])) for i in range(100)}
    assert seen <= expected
    assert len(seen) >= min(len(expected), 1 if length < 3 else len(expected))


def test_frames_of_unequal_size_are_refused(array_sequence):
    class Growing(array_sequence):
        def frame(self, i):
            return np.zeros((20 + i, 30, 3), np.uint8)

    with pytest.raises(BadInput, match="grow differ in size"):
        ClipDataset([Growing("grow", 8)], 2, augmentation=unchanged)[0, 0]


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


def test_rank_comes_from_torch_distributed(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    assert list(ClipSampler(9)) == list(ClipSampler(9, 0, 1, 2))
