import json

import numpy as np
import pandas as pd
import pytest

from davis_exp.data.export import write_contest, write_davis
from davis_exp.data.sources import ContestSource, DavisSource
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.utils.errors import BadInput


def same(one, two, frame_tolerance=0.0):
    assert [s.name for s in one] == [s.name for s in two]
    for a, b in zip(one, two, strict=True):
        assert (a.index, a.frame_ids, a.labelled, a.size) == (b.index, b.frame_ids, b.labelled, b.size)
        for i in range(len(a)):
            apart = np.abs(a.frame(i).astype(int) - b.frame(i))
            assert apart.mean() <= frame_tolerance
            if a.labelled:
                assert np.array_equal(a.mask(i), b.mask(i))


def test_generated_to_davis_and_back(tmp_path):
    source = GeneratedSource(train=2, test=2, length=3, height=32, width=48, distractors=1)
    stages = {"train": source.sequences("train"), "val": source.sequences("test")}
    seen = []

    def progress(sequences):
        for sequence in sequences:
            seen.append(sequence.name)
            yield sequence

    root = write_davis(stages, tmp_path / "deep" / "out", resolution="32p", progress=progress)
    assert seen == ["train-000", "train-001", "test-000", "test-001"]
    written = DavisSource(root)
    same(stages["train"], written.sequences("train"), frame_tolerance=4)  # JPEG of frames with noise
    same(stages["val"], written.sequences("test"), frame_tolerance=4)
    first = (root / "ImageSets/32p/val.txt").read_text().splitlines()[0]
    assert first == "/JPEGImages/32p/test-000/00000.jpg /Annotations/32p/test-000/00000.png"


def test_davis_to_contest_to_davis_is_exact(davis_folder, write_list, tmp_path):
    root = davis_folder({"b": 3, "a": 12})
    write_list(root, "2016/train", ["b", "a"])
    original = DavisSource(root).sequences("train")
    contest = write_contest(original, tmp_path / "contest")
    same(original, ContestSource(contest).sequences("train"))
    frame = "JPEGImages/480p/a/00004.jpg"
    assert (contest / frame).read_bytes() == (root / frame).read_bytes()
    table = pd.read_json(contest / "paths.json")
    assert list(table.columns) == ["raw", "annotation"]
    assert table.index.tolist() == list(range(15))
    assert table.raw[3] == "JPEGImages/480p/a/00000.jpg"
    back = write_davis({"train": ContestSource(contest).sequences("train")}, tmp_path / "back")
    same(original, DavisSource(back).sequences("train"))


def test_real_sequence_round_trip(davis_root, tmp_path):
    dog = [s for s in DavisSource(davis_root).sequences("test") if s.name == "dog"]
    assert dog[0].index[0] > 0
    written = ContestSource(write_contest(dog, tmp_path / "dog")).sequences("test")
    assert written[0].index == dog[0].index
    assert np.array_equal(written[0].frame(30), dog[0].frame(30))
    assert np.array_equal(written[0].mask(30), dog[0].mask(30))


def test_unlabelled_clips_stay_unlabelled(array_sequence, tmp_path):
    clips = [array_sequence("a", 2, labelled=False), array_sequence("b", 2, first=2)]
    a, b = ContestSource(write_contest(clips, tmp_path / "contest")).sequences("train")
    assert (a.labelled, b.labelled) == (False, True)
    davis = write_davis({"val": clips}, tmp_path / "davis")
    assert [s.labelled for s in DavisSource(davis).sequences("test")] == [False, True]
    assert list(json.loads((tmp_path / "contest/paths.json").read_text())["annotation"]) == ["2", "3"]


def test_a_clip_in_two_splits_is_written_once_but_two_of_one_name_are_refused(array_sequence, tmp_path):
    a = array_sequence("a")
    root = write_davis({"train": [a], "val": [a]}, tmp_path / "out")
    assert len(list(root.rglob("*.jpg"))) == 5
    assert DavisSource(root).sequences("train")[0].key == DavisSource(root).sequences("test")[0].key
    twin = array_sequence("a", key="another")
    with pytest.raises(BadInput, match="two clips are called a"):
        write_davis({"train": [a], "val": [twin]}, tmp_path / "twins")
    with pytest.raises(BadInput, match="share"):
        write_contest([a, array_sequence("b")], tmp_path / "twins")
    assert not (tmp_path / "twins").exists()


def test_nothing_is_overwritten_and_nothing_half_done_is_left(array_sequence, tmp_path):
    used = tmp_path / "used"
    used.mkdir()
    write_contest([array_sequence("a")], used)  # empty is fine
    for write in (lambda: write_davis({}, used), lambda: write_contest([], used)):
        with pytest.raises(BadInput, match="not empty"):
            write()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="not empty"):
        write_contest([], tmp_path / "file")

    class Broken(array_sequence):
        def mask(self, i):
            raise BadInput("broken")

    with pytest.raises(BadInput, match="broken"):
        write_davis({"train": [array_sequence("a"), Broken("b")]}, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "used"]
