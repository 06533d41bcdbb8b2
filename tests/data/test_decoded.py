import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch

from davis_exp.data import decoded
from davis_exp.data.augment import ClipAugmentation
from davis_exp.data.cache import FileCache
from davis_exp.data.datamodule import ClipDataModule
from davis_exp.data.decoded import DecodedMotion, DecodedSequence, DecodedStore
from davis_exp.data.flow import DisFlow
from davis_exp.data.loading import Loading
from davis_exp.data.sequences import Source
from davis_exp.data.sources import DavisSource
from davis_exp.data.sources.files import FileSequence
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.data.sources.images import ImageSource
from davis_exp.utils.errors import BadInput

GB = 10**9


@pytest.fixture
def files(davis_root, tmp_path):
    """Five real frames with masks as files of the test's own: made anew at each call, as a new run does."""
    real = DavisSource(davis_root).sequences("train")[0]
    copies = {}
    for kind, paths in (("frames", real.frames[:5]), ("masks", real.masks[:5])):
        (tmp_path / kind).mkdir()
        copies[kind] = [Path(shutil.copy(path, tmp_path / kind / path.name)) for path in paths]
    return lambda: FileSequence("a", "a", copies["frames"], copies["masks"])


@pytest.fixture
def store(tmp_path):
    return lambda where="disk", size=None, limit=GB, motion=None: DecodedStore(
        where, limit, size, motion, tmp_path / "kept"
    )


def entries(folder):
    return sorted(path for path in (folder / "kept").rglob("*") if path.is_file())


def same(one, two):
    return all(
        np.array_equal(one.frame(i), two.frame(i)) and np.array_equal(one.mask(i), two.mask(i))
        for i in range(len(one))
    )


# ---- what is kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_at_their_own_size_frames_and_masks_are_exact(files, store, where):
    (kept,) = store(where).keep([files()])
    assert isinstance(kept, DecodedSequence)
    assert same(kept, files())
    for name in ("name", "index", "frame_ids", "labelled", "still", "key", "size"):
        assert getattr(kept, name) == getattr(files(), name)
    assert kept.frame_file(2) == files().frame_file(2)
    assert kept.mask_files(2) == files().mask_files(2)


def test_larger_ones_are_kept_as_small_as_still_fills_the_size_asked_for(files, store):
    (kept,) = store(size=(100, 200)).keep([files()])
    assert kept.size == (113, 200)
    assert kept.frame(1).shape == (113, 200, 3)
    assert kept.mask(1).shape == (113, 200)
    expected = cv2.resize(files().frame(1), (200, 113), interpolation=cv2.INTER_AREA)
    assert np.array_equal(kept.frame(1), expected)
    share = cv2.resize(files().mask(1).astype(np.float32), (200, 113), interpolation=cv2.INTER_AREA)
    clear = np.abs(share - 0.5) > 0.01
    assert np.array_equal(kept.mask(1)[clear], (share > 0.5)[clear])
    (whole,) = store(size=(2000, 100)).keep([files()])
    assert whole.size == (360, 640)


def test_what_is_on_disk_is_read_and_not_made_again(files, store, monkeypatch):
    first = store(size=(100, 100)).keep([files()])[0]
    monkeypatch.setattr(FileSequence, "frame", None)  # nothing is decoded any more
    assert same(store(size=(100, 100)).keep([files()])[0], first)


def test_other_content_settings_and_versions_are_noticed(files, store, tmp_path, monkeypatch):
    changes = [
        lambda: None,
        lambda: shutil.copy(files().frames[0], files().frames[3]),
        lambda: shutil.copy(files().masks[0], files().masks[3]),
        lambda: monkeypatch.setattr(decoded, "__version__", "0.0.0"),
        lambda: monkeypatch.setattr(decoded, "FORMAT", -1),
    ]
    for count, change in enumerate(changes, 1):
        change()
        assert same(store().keep([files()])[0], files())
        assert len(entries(tmp_path)) == count
    store(size=(50, 50)).keep([files()])
    assert len(entries(tmp_path)) == len(changes) + 1


def test_where_the_data_lies_does_not_matter(files, store, tmp_path):
    store().keep([files()])
    moved = [
        sorted(shutil.copytree(tmp_path / kind, tmp_path / "new" / kind).iterdir())
        for kind in ("frames", "masks")
    ]
    store().keep([FileSequence("b", "b", *moved, 9)])
    assert len(entries(tmp_path)) == 1


@pytest.mark.parametrize("damage", [b"", b"short"])
def test_an_entry_of_the_wrong_length_is_made_again(files, store, tmp_path, damage):
    store().keep([files()])
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    assert same(store().keep([files()])[0], files())
    assert entry.read_bytes() == whole


def test_unlabelled_and_uneven_sequences(files, store):
    unlabelled = FileSequence("u", "u", files().frames, None)
    (kept,) = store().keep([unlabelled])
    assert np.array_equal(kept.frame(0), unlabelled.frame(0))
    with pytest.raises(BadInput, match="no annotations"):
        kept.mask(0)
    cv2.imwrite(str(files().frames[2]), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(BadInput, match="a differ in size"):
        store().keep([files()])


def test_generated_frames_are_rendered_once(store, tmp_path):
    sequences = GeneratedSource(train=3, length=4, height=32, width=48).sequences("train")
    kept = store().keep(sequences)
    assert all(same(k, s) for k, s in zip(kept, sequences, strict=True))
    store().keep(GeneratedSource(train=2, length=4, height=32, width=48, seed=1).sequences("train"))
    assert len(entries(tmp_path)) == 5


def test_of_stills_the_pictures_are_kept_not_their_motion(tmp_path, store):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for number in range(3):
            picture = np.full((40, 60), 10 * number, np.uint8)
            picture[10:20, 20:40] = 255
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), picture)
    stills = ImageSource(tmp_path, length=4).sequences("train")
    kept = store().keep(stills)
    assert len(entries(tmp_path)) == 3
    assert [path.stat().st_size for path in entries(tmp_path)] == [40 * 60 * 4] * 3
    for own, other in zip(stills, kept, strict=True):
        assert other.still
        assert other.index == own.index
        assert same(own, other)
        assert same(own.variant((5,)), other.variant((5,)))
        assert not same(own, other.variant((5,)))


# ---- bounds -----------------------------------------------------------------------------------------


def test_what_does_not_fit_is_read_from_files_and_said(store, caplog, tmp_path):
    sequences = GeneratedSource(train=4, length=5, height=32, width=48).sequences("train")
    one = 5 * 32 * 48 * 4
    with caplog.at_level(logging.WARNING):
        kept = store(limit=3 * one).keep(sequences)
    assert [isinstance(s, DecodedSequence) for s in kept] == [True, True, True, False]
    assert sum(path.stat().st_size for path in entries(tmp_path)) == 3 * one
    (record,) = caplog.records
    assert "3 of 4 clips" in record.getMessage()


def test_those_longest_unused_make_room(store, tmp_path):
    old, middle, new = (
        GeneratedSource(train=2, length=5, height=32, width=48, seed=seed).sequences("train")
        for seed in range(3)
    )
    one = 5 * 32 * 48 * 4
    first = store().keep(old)
    for path in entries(tmp_path):
        os.utime(path, (1, 1))
    of_old = entries(tmp_path)
    store().keep(middle)
    for path in set(entries(tmp_path)) - set(of_old):
        os.utime(path, (2, 2))
    store().keep(old[:1])  # used again: now the newest
    store(limit=4 * one).keep([*old[:1], *new])
    left = entries(tmp_path)
    assert sum(path.stat().st_size for path in left) == 4 * one
    assert len(set(of_old) & set(left)) == 1
    assert same(first[1], old[1])  # removed, but still mapped here


def test_what_killed_processes_left_is_removed(tmp_path):
    kept = FileCache(tmp_path)
    kept.write("abcd", b"whole")
    for name, age in ((".new.1", 0), (".old.2", 10**4)):
        (tmp_path / "ab" / name).write_bytes(b"half")
        os.utime(tmp_path / "ab" / name, (time.time() - age,) * 2)
    kept.trim(100)
    assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == [".new.1", "cd"]


def test_a_folder_that_cannot_be_written_only_costs_time(files, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        (kept,) = DecodedStore("disk", GB, None, folder=tmp_path / "file").keep([files()])
    assert not isinstance(kept, DecodedSequence)
    assert "nothing can be kept in" in caplog.text


def test_memory_is_refused_where_there_is_none_of_the_kind(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(BadInput, match=r"data\.cache=ram works on Linux only"):
        DecodedStore("ram", GB, None)


# ---- several processes ------------------------------------------------------------------------------

BUILD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from davis_exp.data.decoded import DecodedStore\n"
    "from davis_exp.data.sources.generated import GeneratedSource\n"
    "sequences = GeneratedSource(train=8, length=20, height=96, width=160).sequences('train')\n"
    "print('go', flush=True)\n"
    "DecodedStore('disk', 10**9, None, folder=Path(sys.argv[1])).keep(sequences)\n"
)


def test_two_processes_build_at_once_and_one_is_killed(tmp_path, store):
    command = [sys.executable, "-c", BUILD, str(tmp_path / "kept")]
    doomed, other = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    doomed.stdout.readline()
    while not entries(tmp_path) and doomed.poll() is None:
        pass
    doomed.kill()
    assert other.communicate(timeout=120) == ("go\n", None)
    doomed.communicate(timeout=10)
    assert other.returncode == 0
    whole = [path for path in entries(tmp_path) if not path.name.startswith(".")]
    assert [path.stat().st_size for path in whole] == [20 * 96 * 160 * 4] * 8


def test_killed_at_any_moment_it_leaves_nothing_bad(tmp_path, store):
    sequences = GeneratedSource(train=8, length=20, height=96, width=160).sequences("train")
    for delay in (0.0, 0.05, 0.15, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(tmp_path / "kept")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "go\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        whole = [path for path in entries(tmp_path) if not path.name.startswith(".")]
        assert {path.stat().st_size for path in whole} <= {20 * 96 * 160 * 4}
    for kept, own in zip(store().keep(sequences), sequences, strict=True):
        assert isinstance(kept, DecodedSequence)
        assert all(np.array_equal(kept.frame(i), own.frame(i)) for i in (0, 19))


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_sent_to_another_process_it_is_mapped_not_copied(files, store, where):
    keeper = store(where)
    (kept,) = keeper.keep([files()])
    sent = pickle.dumps(kept)
    assert len(sent) < 10_000
    assert same(pickle.loads(sent), kept)


# ---- flow -------------------------------------------------------------------------------------------


def test_flow_is_kept_exactly_and_computed_from_whole_frames(files, store, tmp_path, monkeypatch):
    motion = DisFlow(cache=str(tmp_path / "flow"))
    expected = [motion.vectors(files(), i) for i in range(5)]
    (kept,) = store(size=(100, 100), motion=motion).keep([files()])
    assert kept.size[0] < 360
    read = DecodedMotion(motion)
    with monkeypatch.context() as patch:
        patch.setattr(DisFlow, "vectors", None)  # not asked again
        for i, vectors in enumerate(expected):
            assert np.array_equal(read.vectors(kept, i), vectors)
            assert read.vectors(kept, i).dtype == np.float32
    assert np.array_equal(read.vectors(files(), 0), expected[0])
    (without,) = store(size=(100, 100)).keep([files()])
    assert np.array_equal(read.vectors(without, 0), expected[0])
    store(size=(100, 100), motion=DisFlow(preset="fast", cache=str(tmp_path / "flow"))).keep([files()])
    assert len(entries(tmp_path)) == 3  # frames, and two flows


def test_stills_have_no_flow_to_keep(files, store, tmp_path):
    single = FileSequence("s", "s", files().frames[:1], files().masks[:1])
    motion = DisFlow(cache=str(tmp_path / "flow"))
    (kept,) = store(motion=motion).keep([single])
    assert DecodedMotion(motion).vectors(kept, 0) is None
    assert len(entries(tmp_path)) == 1


# ---- batches ----------------------------------------------------------------------------------------


class Two(Source):
    def __init__(self, sequences):
        self.given = sequences

    def sequences(self, stage):
        return self.given


def batches(source, cache, size, motion=None, **augmentation):
    loading = Loading(
        size=size, clip_length=2, batch_size=2, clips_per_epoch=4, workers=0, cache=cache, holdout=1
    )
    data = ClipDataModule(source, partial(ClipAugmentation, **augmentation), loading, seed=3, motion=motion)
    data.setup("fit")
    data.prepare_data()
    return list(data.train_dataloader())


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_batches_are_the_same_with_and_without(davis_root, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path))
    real = DavisSource(davis_root).sequences("train")[:2]
    short = [FileSequence(s.name, s.key, s.frames[:4], s.masks[:4]) for s in real]
    colour, rotate = A.ColorJitter(p=0.8), A.Rotate((-15, 15), p=0.5)
    strong = {"flip": 0.5, "scale": (0.25, 1.0), "transforms": {"colour": colour, "rotate": rotate}}
    motion = DisFlow()
    plain, kept = (batches(Two(short), c, (200, 350), motion, **strong) for c in ("none", cache))
    # no crop has twice the pixels wanted, and the smallest wants all there are: nothing is resized
    for one, other in zip(plain, kept, strict=True):
        assert set(one) == set(other) == {"frames", "masks", "motion"}
        assert all(torch.equal(one[name], other[name]) for name in one)
    light = {"flip": 0.5, "transforms": {"colour": colour}}
    plain, kept = (batches(Two(short), c, (90, 160), **light) for c in ("none", cache))
    for one, other in zip(plain, kept, strict=True):  # made smaller at another moment
        assert (one["frames"].int() - other["frames"].int()).abs().float().mean() < 1.5
        assert (one["masks"] != other["masks"]).float().mean() < 0.01


def test_only_what_is_drawn_from_is_decoded(davis_folder, write_list, tmp_path, monkeypatch):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path / "cache"))
    root = davis_folder({f"c{i}": 3 + i for i in range(4)})
    write_list(root, "2016/train", [f"c{i}" for i in range(4)])
    loading = Loading(size=(8, 12), workers=0, cache="disk", holdout=1)
    data = ClipDataModule(DavisSource(root), ClipAugmentation, loading)
    data.prepare_data()
    assert len(list((tmp_path / "cache/decoded").glob("*/*"))) == 3
    data.setup("fit")
    assert all(isinstance(s, FileSequence) for s in data.val_sequences), "evaluated at their own size"
    assert all(isinstance(s, DecodedSequence) for s in data.train_dataloader().dataset.sequences)
