import dataclasses
import json
import logging
import warnings
from functools import partial

import albumentations as A
import numpy as np
import pytest
import torch
import yaml

from davis_exp.config import conf_dir
from davis_exp.data.augment import ClipAugmentation
from davis_exp.data.datamodule import ClipDataModule
from davis_exp.data.flow import DisFlow
from davis_exp.data.loaders import shares
from davis_exp.data.loading import Loading
from davis_exp.data.sequences import Source
from davis_exp.data.sources import ContestSource, DavisSource
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.data.split import split_holdout
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput

COLOUR = {"colour": A.ColorJitter(p=0.8)}
AUGMENT = partial(ClipAugmentation, flip=0.5, scale=(0.5, 1.0), transforms=COLOUR)


class Fixed(Source):
    """Given stages; asking for one that is not given is refused."""

    def __init__(self, **stages):
        self.stages = stages

    def sequences(self, stage):
        if stage not in self.stages:
            raise BadInput(f"no stage {stage}")
        return self.stages[stage]


@pytest.fixture
def ten(array_sequence):
    return [array_sequence(f"clip{i}", 6, first=6 * i) for i in range(10)]


def module(source, **loading):
    return ClipDataModule(
        source, AUGMENT, Loading(**({"size": [20, 30], "workers": 0, "clip_length": 4} | loading)), seed=3
    )


def test_loading_is_what_the_yaml_holds():
    values = yaml.safe_load((conf_dir() / "data/_loading.yaml").read_text())
    assert list(values) == [field.name for field in dataclasses.fields(Loading)]
    loading = Loading(**values)
    assert loading.size == (192, 320)
    assert loading.clip_stride == (1, 3)
    assert loading == Loading(size=(192, 320)), "the defaults of both agree"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", [0, 10]),
        ("size", [10]),
        ("size", 10),
        ("size", [10.5, 3]),
        ("clip_length", 0),
        ("clip_stride", [0, 3]),
        ("clip_stride", [3, 2]),
        ("flow_gaps", []),
        ("flow_gaps", [1, 0]),
        ("flow_gaps", [5]),
        ("flow_gaps", 1),
        ("reverse", 1.5),
        ("reverse", "often"),
        ("clips_per_epoch", 0),
        ("batch_size", 0),
        ("batch_size", True),
        ("workers", -1),
        ("holdout", 1.5),
        ("holdout", -0.1),
        ("holdout_seed", None),
        ("fold", -1),
        ("test_split", "train"),
        ("cache", "tape"),
        ("cache", None),
        ("cache_gb", 0),
        ("cache_gb", "4"),
        ("cache_gb", float("inf")),
    ],
)
def test_impossible_values_name_their_key(key, value):
    with pytest.raises(BadInput, match=rf"^data\.{key} "):
        Loading(**({"size": (8, 8)} | {key: value}))


def test_holdout_is_by_clip_seeded_and_in_order(ten, array_sequence):
    training, held = split_holdout(ten, 0.2, seed=0)
    assert (len(training), len(held)) == (8, 2)
    assert [s for s in ten if s in training or s in held] == ten
    assert training == [s for s in ten if s not in held]
    assert split_holdout(ten, 0.2, seed=0) == (training, held)
    assert any(split_holdout(ten, 0.2, seed=seed)[1] != held for seed in range(1, 5))
    assert len(split_holdout(ten, 3, seed=0)[1]) == 3
    moved = [array_sequence(s.name, key=f"/elsewhere/{s.name}") for s in ten]
    assert [s.name for s in split_holdout(moved, 0.2, seed=0)[1]] == [s.name for s in held]


@pytest.mark.parametrize("holdout", [0.2, 2, 3])
def test_over_all_folds_every_clip_is_held_out_once(ten, holdout):
    folds = -(-10 // (2 if holdout == 0.2 else holdout))
    splits = [split_holdout(ten, holdout, seed=1, fold=fold) for fold in range(folds)]
    assert sorted(s.name for _, held in splits for s in held) == sorted(s.name for s in ten)
    assert all(training == [s for s in ten if s not in held] for training, held in splits)
    assert splits[0] == split_holdout(ten, holdout, seed=1)
    with pytest.raises(BadInput, match=rf"data\.fold={folds}: 10 clips make the folds 0 to {folds - 1} of"):
        split_holdout(ten, holdout, seed=1, fold=folds)


def test_holdout_keeps_one_clip_on_either_side(ten):
    assert [len(part) for part in split_holdout(ten, 0.01, 0)] == [9, 1]
    assert [len(part) for part in split_holdout(ten[:2], 0.9, 0)] == [1, 1]
    with pytest.raises(BadInput, match="1 clip"):
        split_holdout(ten[:1], 0.5, 0)
    with pytest.raises(BadInput, match="holdout=10 leaves none of 10"):
        split_holdout(ten, 10, 0)


def test_sequences_of_one_clip_stay_together(array_sequence):
    parts = [array_sequence(f"part{i}", key=f"clip{i // 2}") for i in range(8)]
    for seed in range(5):
        training, held = split_holdout(parts, 0.5, seed)
        assert not {s.key for s in training} & {s.key for s in held}
        assert len(held) == 4


def test_fit_uses_the_train_stage_and_holds_out(ten, array_sequence):
    tested = [array_sequence("other")]
    data = module(Fixed(train=ten, test=tested), batch_size=3)
    data.setup("fit")
    assert {s.name for s in data.train_sequences + data.val_sequences} == {s.name for s in ten}
    batches = list(data.train_dataloader())
    assert len(batches) == 8 * 6 // 4 // 3
    assert batches[0]["frames"].shape == (3, 4, 3, 20, 30)
    assert batches[0]["masks"].shape == (3, 4, 1, 20, 30)
    assert list(data.val_dataloader()) == data.val_sequences
    data.setup("test")
    assert list(data.test_dataloader()) == tested


def test_batches_do_not_depend_on_workers_nor_draw_from_the_global_generator():
    source = GeneratedSource(train=4, length=6, height=32, width=48)
    batches = {}
    with warnings.catch_warnings():
        # torch counts CPUs and warns where there are fewer than workers asked for.
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        for workers in (0, 2):
            torch.manual_seed(0)
            data = module(
                source, workers=workers, size=[32, 48], batch_size=2, clip_length=2, clips_per_epoch=8
            )
            data.setup("fit")
            loader = data.train_dataloader()
            batches[workers] = []
            for epoch in range(2):
                loader.sampler.set_epoch(epoch)
                batches[workers] += list(loader)
            assert torch.initial_seed() == 0
            assert torch.equal(torch.rand(3), torch.manual_seed(0) and torch.rand(3))
    assert len(batches[0]) == len(batches[2]) == 8
    for alone, by_worker in zip(batches[0], batches[2], strict=True):
        assert torch.equal(alone["frames"], by_worker["frames"])
        assert torch.equal(alone["masks"], by_worker["masks"])
    assert len({batch["frames"].numpy().tobytes() for batch in batches[2]}) == 8


def test_motion_batches_do_not_depend_on_workers_nor_on_what_was_kept(tmp_path):
    source = GeneratedSource(train=3, length=5, height=48, width=64)
    loading = Loading(size=(40, 56), clip_length=3, batch_size=2, clips_per_epoch=4, workers=0)
    batches = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        for workers, prepared in ((0, True), (2, False)):
            data = ClipDataModule(
                source,
                AUGMENT,
                dataclasses.replace(loading, workers=workers),
                seed=3,
                motion=DisFlow(cache=str(tmp_path / str(workers))),
            )
            if prepared:
                data.prepare_data()
                assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 3 * 5
            data.setup("fit")
            batches[workers] = list(data.train_dataloader())
    for alone, by_worker in zip(*batches.values(), strict=True):
        assert alone["motion"].shape == alone["frames"].shape == (2, 3, 3, 40, 56)
        assert alone["motion"].dtype == torch.uint8
        for name, tensor in alone.items():
            assert torch.equal(tensor, by_worker[name])
    assert batches[0][0]["motion"].float().std() > 10


def test_nothing_is_prepared_without_training(tmp_path):
    source = GeneratedSource(train=2, length=3, height=48, width=64)
    ClipDataModule(source, None, Loading(size=(8, 8)), motion=DisFlow(cache=str(tmp_path))).prepare_data()
    ClipDataModule(source, AUGMENT, Loading(size=(8, 8))).prepare_data()
    assert not list(tmp_path.iterdir())


def test_gaps_of_training_are_prepared_and_drawn_from(tmp_path):
    """Decoded clips hold the usual flow only: flow to other frames still comes from what was prepared."""
    source = GeneratedSource(train=1, test=1, length=4, height=96, width=128)
    loading = Loading(size=(96, 128), clip_length=1, workers=0, holdout=0, flow_gaps=[-1, 2], cache="disk")
    data = ClipDataModule(source, AUGMENT, loading, motion=DisFlow(cache=str(tmp_path / "flow")))
    data.prepare_data()

    def kept():
        return {path for path in (tmp_path / "flow").rglob("*") if path.is_file()}

    # To the frame before: 1→0, 2→1, 3→2, and 0→1, which has none; two frames on: 0→2, 1→3, 2→0, 3→1; as usual: 1→2, 2→3.
    assert len(before := kept()) == 4 + 4 + 2
    assert len(list(data.train_dataloader())) == 1
    assert kept() == before


def test_fewer_clips_than_a_batch_still_give_one(ten):
    data = module(Fixed(train=ten), clips_per_epoch=3, batch_size=8)
    data.setup("fit")
    assert [len(batch["frames"]) for batch in data.train_dataloader()] == [3]


def test_no_training_clip_is_tested_in_silence(ten, caplog):
    data = module(Fixed(train=ten, test=ten[:5]))
    with caplog.at_level(logging.WARNING):
        data.setup(None)
    assert data.test_sequences == data.val_sequences
    assert not {s.key for s in data.test_sequences} & {s.key for s in data.train_sequences}
    (record,) = caplog.records
    assert "5 of 5 test clips are in the training data" in record.getMessage()


def test_test_split_can_be_chosen(ten, array_sequence, caplog):
    for choice, expected in (("all", ten), ("holdout", split_holdout(ten, 0.2, 0)[1])):
        data = module(Fixed(train=ten, test=ten), test_split=choice)
        data.setup("test")
        assert data.test_sequences == expected
    assert not caplog.records


def test_unlabelled_data_is_for_testing_only(array_sequence, caplog):
    clips = [array_sequence(f"c{i}", labelled=False) for i in range(3)]
    data = module(Fixed(train=clips, test=clips))
    data.setup("test")
    assert data.test_sequences == clips
    assert not caplog.records
    with pytest.raises(BadInput, match="c0 of the train stage has none"):
        data.setup("fit")


def test_a_missing_train_stage_does_not_stop_a_test(array_sequence):
    clips = [array_sequence("a")]
    data = ClipDataModule(Fixed(test=clips), None, Loading(size=(8, 8)))
    data.setup("test")
    assert list(data.test_dataloader()) == clips
    with pytest.raises(BadInput, match="no stage train"):
        data.setup("fit")
    with pytest.raises(BadInput, match="augmentation"):
        data.train_dataloader()


def test_evaluation_is_shared_out_by_whole_sequences(ten, monkeypatch):
    data = module(Fixed(train=ten, test=ten), test_split="all")
    data.setup("test")
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(list(data.test_dataloader()))
    assert [len(share) for share in shares] == [4, 4, 4]  # equally many steps
    found = [s.name for share in shares for s in share if s is not None]
    assert sorted(found) == sorted(s.name for s in ten)


@pytest.mark.parametrize(
    ("lengths", "world", "expected"),
    [
        ([5, 5, 5, 5], 2, [[0, 2], [1, 3]]),
        ([9, 2, 3, 4], 2, [[0], [1, 2, 3]]),  # 9 frames each
        ([4], 3, [[0], [], []]),
        ([3, 8, 3], 1, [[0, 1, 2]]),
    ],
)
def test_shares_are_of_about_as_many_frames(array_sequence, lengths, world, expected):
    clips = [array_sequence(f"c{i}", length) for i, length in enumerate(lengths)]
    given = shares(clips, world)
    assert [[clips.index(s) for s in share if s is not None] for share in given] == expected
    assert len({len(share) for share in given}) == 1


@pytest.mark.parametrize(("clips", "world"), [(10, 2), (7, 2), (3, 2), (8, 4), (12, 1)])
def test_processes_together_train_on_the_batches_of_one(ten, monkeypatch, clips, world):
    data = module(Fixed(train=ten), clips_per_epoch=clips, batch_size=4)
    data.setup("fit")
    whole = [list(batch) for batch in data.train_dataloader().batch_sampler]
    monkeypatch.setattr(distributed, "world_size", lambda: world)
    by_rank = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        by_rank.append([list(batch) for batch in data.train_dataloader().batch_sampler])
    together = [[item for part in step for item in part] for step in zip(*by_rank, strict=True)]
    assert len(whole) == len(together) == max(1, clips // 4)
    for one, other in zip(whole, together, strict=True):
        assert set(one) == set(other)
    assert len(whole[0]) == min(4, clips)


def test_a_batch_that_cannot_be_shared_out_is_refused(ten, monkeypatch):
    data = module(Fixed(train=ten), batch_size=3)
    data.setup("fit")
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    with pytest.raises(BadInput, match=r"data\.batch_size=3.*2 devices.*multiple of 2"):
        data.train_dataloader()


def test_real_davis(davis_root):
    data = module(DavisSource(davis_root), size=[96, 160], batch_size=2, clips_per_epoch=2)
    data.setup(None)
    assert (len(data.train_sequences), len(data.val_sequences), len(data.test_sequences)) == (24, 6, 6)
    (batch,) = data.train_dataloader()
    assert batch["frames"].shape == (2, 4, 3, 96, 160)
    assert 0 < batch["masks"].float().mean() < 0.8
    assert batch["frames"].float().std() > 20
    data = module(DavisSource(davis_root))
    data.setup("fit")
    assert len(data.train_dataloader().dataset) == -(-sum(map(len, data.train_sequences)) // 4)


def test_contest_data_without_a_test_root_is_tested_on_its_holdout(davis_folder, caplog):
    root = davis_folder({f"c{i}": 3 for i in range(5)})
    rows = [f"c{i}/{j:05d}" for i in range(5) for j in range(3)]
    table = {
        "raw": {str(n): f"JPEGImages/480p/{row}.jpg" for n, row in enumerate(rows)},
        "annotation": {str(n): f"Annotations/480p/{row}.png" for n, row in enumerate(rows)},
    }
    (root / "paths.json").write_text(json.dumps(table))
    data = module(ContestSource(root))
    data.setup(None)
    assert [s.name for s in data.test_sequences] == [s.name for s in data.val_sequences]
    assert len(data.test_sequences) == 1
    assert len(caplog.records) == 1
    assert np.ptp([len(s) for s in data.train_sequences]) == 0


def test_nothing_is_held_out_where_nothing_is_to_be(ten, caplog):
    class Both(Source):
        def sequences(self, stage):
            return ten

    data = module(Both(), holdout=0)
    data.setup(None)
    assert (len(data.train_sequences), data.val_sequences, len(data.test_sequences)) == (10, [], 10)
    assert "10 of 10 test clips are in the training data, and none is held out" in caplog.text
    with pytest.raises(BadInput, match=r"data\.fold=1: there are no folds"):
        module(Both(), holdout=0, fold=1).setup("fit")
    assert split_holdout(ten[:1], 0, 0) == (ten[:1], [])
