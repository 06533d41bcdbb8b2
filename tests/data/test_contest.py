import json
import shutil

import numpy as np
import pandas as pd
import pytest

from davis_exp.data.sources import ContestSource, DavisSource, open_source
from davis_exp.utils.errors import BadInput


@pytest.fixture
def contest(davis_folder, tmp_path):
    """Makes a contest data set of clips `a` (11 frames) and `b` (2), its table written by pandas."""

    def make(prefix="JPEGImages/480p", slash="/", labelled=True, index=None):
        root = davis_folder({"a": 11, "b": 2}, labelled=labelled)
        files = [(clip, i) for clip, n in (("a", 11), ("b", 2)) for i in range(n)]
        columns = {"raw": [f"{prefix}/{clip}/{i:05d}.jpg".replace("/", slash) for clip, i in files]}
        if labelled:
            masks = prefix.replace("JPEGImages", "Annotations")
            columns["annotation"] = [f"{masks}/{clip}/{i:05d}.png".replace("/", slash) for clip, i in files]
        pd.DataFrame(columns, index=index).to_json(root / "paths.json")
        return root

    return make


def test_integer_index_in_numeric_order(contest):
    root = contest()
    assert list(json.loads((root / "paths.json").read_text())["raw"])[:3] == ["0", "1", "2"]
    table = json.loads((root / "paths.json").read_text())
    shuffled = {column: dict(sorted(cells.items())) for column, cells in table.items()}  # "10" before "2"
    (root / "paths.json").write_text(json.dumps(shuffled))
    a, b = ContestSource(root).sequences("train")
    assert a.index == tuple(range(11))
    assert a.frame_ids[2] == "a/00002"
    assert a.mask(10).sum() == 11 * 8
    assert (b.name, b.index) == ("b", (11, 12))


def test_sparse_and_interleaved_indices_are_kept(contest):
    a, b = ContestSource(contest(index=[0, 1, 2, 10, 20, 30, 40, 50, 60, 70, 80, 5, 90])).sequences("train")
    assert a.index == (0, 1, 2, 10, 20, 30, 40, 50, 60, 70, 80)
    assert b.index == (5, 90)
    assert b.frame_ids == ("b/00000", "b/00001")


@pytest.mark.parametrize(
    ("prefix", "slash"),
    [
        ("JPEGImages/480p", "/"),
        ("JPEGImages/480p", "\\"),
        ("artifacts/davis2016-train:v3/JPEGImages/480p", "/"),
        ("/home/somebody/JPEGImages/480p", "/"),
        ("C:/data/JPEGImages/480p", "\\"),
    ],
)
def test_prefixes_of_any_depth_and_either_slash(contest, prefix, slash):
    a, b = ContestSource(contest(prefix, slash)).sequences("train")
    assert (a.name, b.name) == ("a", "b")
    assert a.frame(3).mean() == pytest.approx(30, abs=1)
    assert b.mask(1).sum() == 2 * 8


def test_unlabelled_and_test_root(contest, davis_folder, tmp_path):
    root = contest(labelled=False)
    source = ContestSource(root)
    assert [s.labelled for s in source.sequences("test")] == [False, False]
    assert [s.key for s in source.sequences("test")] == [s.key for s in source.sequences("train")]
    with pytest.raises(BadInput, match=r"looked for paths\.json"):
        ContestSource(root, test_root=tmp_path / "other").sequences("test")


def test_damaged_tables_are_refused(contest, tmp_path):
    root = contest()
    table = json.loads((root / "paths.json").read_text())

    def refusal(content):
        (root / "paths.json").write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(BadInput) as caught:
            ContestSource(root).sequences("train")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "is not JSON" in refusal("{")
    assert "must look like" in refusal([1])
    assert "must look like" in refusal({"annotation": table["annotation"]})
    assert "must look like" in refusal({"raw": {"zero": "a/00000.jpg"}})
    assert "must look like" in refusal({"raw": {"0": 3}})
    assert "not below" in refusal({"raw": {"0": "c/00000.jpg"}})
    assert "<clip>/<frame>" in refusal({"raw": {"0": "00000.jpg"}})
    assert "<clip>/<frame>" in refusal({"raw": {"0": "/00000.jpg"}})
    assert "not below" in refusal({"raw": {"0": "/nobody/c/00000.jpg"}})
    assert "not below" in refusal({"raw": {"0": "c" * 300 + "/00000.jpg"}})
    assert "two frames of one name" in refusal({"raw": {"0": table["raw"]["0"], "1": table["raw"]["0"]}})
    assert "index 4 has no annotation" in refusal(
        {"raw": table["raw"], "annotation": table["annotation"] | {"4": None}}
    )


@pytest.mark.parametrize("column", ["raw", "annotation"])
@pytest.mark.parametrize("row", ["0", "2"])
def test_no_path_leaves_the_data_set(contest, tmp_path, column, row):
    """Whichever row it stands in, and though its file is there."""
    root, secret = contest(), tmp_path / "secret"
    shutil.copytree(root / "JPEGImages/480p/a", secret / "x")
    table = json.loads((root / "paths.json").read_text())
    for path in (
        "JPEGImages/../../secret/x/00000.jpg",
        "../secret/x/00000.jpg",
        "..\\secret\\x\\00000.jpg",
        "JPEGImages/480p/a/../00000.jpg",  # its clip would be ..
        f"{root}/../secret/x/00000.jpg",
        f"{secret}/x/00000.jpg",
        f"C:{secret}/x/00000.jpg",
        f"C:{secret}/x/00000.jpg".replace("/", "\\"),
        f"/{secret}/x/00000.jpg",
        "JPEGImages/480p\\a/00000.jpg",
        "JPEGImages/480p/a\n/00000.jpg",
    ):
        table[column][row] = path
        (root / "paths.json").write_text(json.dumps(table))
        with pytest.raises(BadInput, match=f"{column}: index {row}: ") as caught:
            ContestSource(root).sequences("train")
        assert "\n" not in str(caught.value)


def test_rows_that_do_not_begin_alike_are_refused(contest):
    root = contest("/home/somebody/JPEGImages/480p")
    table = json.loads((root / "paths.json").read_text())
    table["raw"]["2"] = "/a/00002.jpg"
    (root / "paths.json").write_text(json.dumps(table))
    with pytest.raises(BadInput, match=r"raw: index 2: /a/00002\.jpg is not in the folder that the first"):
        ContestSource(root).sequences("train")


def test_a_copy_is_read_and_not_its_original(contest, davis_folder, tmp_path):
    root = contest(f"{tmp_path}/davis/JPEGImages/480p")
    copy = shutil.copytree(root, tmp_path / "copies" / "davis")
    for source, folder in ((root, root), (copy, copy)):
        for sequence in ContestSource(source).sequences("train"):
            assert all(path.is_relative_to(folder) for path in (*sequence.frames, *sequence.masks))
            assert sequence.key == str(folder.resolve() / "JPEGImages/480p" / sequence.name)


def test_open_source_tells_the_layout(contest, davis_folder, write_list, tmp_path):
    root = contest()
    assert isinstance(open_source(root), ContestSource)
    (root / "paths.json").rename(tmp_path / "paths.json")
    write_list(root, "2016/train", ["a"])
    assert isinstance(open_source(root), DavisSource)
    assert np.array_equal(open_source(str(root)).sequences("train")[0].index, range(11))
    with pytest.raises(BadInput, match="ImageSets"):
        open_source(tmp_path / "nowhere")
