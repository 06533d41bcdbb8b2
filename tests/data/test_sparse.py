"""Sequences with masks of some of their frames only: trained on and shown where there is one."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from davis_exp.cli import main
from davis_exp.data.clips import ClipDataset
from davis_exp.data.decoded import DecodedStore
from davis_exp.data.export import write_contest, write_davis
from davis_exp.data.features import FeatureStore
from davis_exp.data.sequences import Part, Picked, with_masks
from davis_exp.data.sources import DavisSource, FolderSource
from davis_exp.data.split import frame_weights
from davis_exp.utils.errors import BadInput


@pytest.fixture
def sparse(davis_folder, write_list):
    """A data set whose clip "a" has masks of frames 0 and 5 of 10 (of 1 and 6 columns), and "b" of all 4."""
    root = davis_folder({"a": 10, "b": 4})
    for i in set(range(10)) - {0, 5}:
        (root / f"Annotations/480p/a/{i:05d}.png").unlink()
    write_list(root, "480p/train", ["a", "b"])
    return root


def test_a_davis_sequence_may_have_few_masks_but_not_lose_one(sparse):
    a, b = DavisSource(sparse).sequences("train")
    assert (a.annotated, b.annotated) == ((0, 5), (0, 1, 2, 3))
    assert a.labelled
    assert a.mask(5).sum() == 6 * 8
    assert [len(a.mask_files(i)) for i in (0, 1)] == [1, 0]
    with pytest.raises(BadInput, match=r"00001\.jpg\): use labelled data"):
        a.mask(1)
    (sparse / "Annotations/480p/b/00002.png").unlink()
    with pytest.raises(BadInput, match=r"00002\.png is missing \(1 of 4\).*data=folders"):
        DavisSource(sparse).sequences("train")


def test_data_check_tells_few_masks_from_lost_ones(sparse, capsys):
    assert main(["data", "check", str(sparse)]) == 0
    said = capsys.readouterr().out
    assert (
        "note: Annotations/480p/a has no mask of 00001, 00002, 00003 and 5 more, and so of 8 of 10 frames"
        in said
    )
    (sparse / "Annotations/480p/b/00002.png").unlink()
    assert main(["data", "check", str(sparse)]) == 2
    assert "Annotations/480p/b lacks the masks of 00002: restore them" in capsys.readouterr().out


def test_the_frames_with_masks_alone(sparse):
    a, b = DavisSource(sparse).sequences("train")
    shown = with_masks(a)
    assert isinstance(shown, Picked)
    assert (len(shown), shown.index, shown.frame_ids) == (2, (0, 5), ("a/00000", "a/00005"))
    assert (shown.annotated, shown.labelled, shown.key, shown.size) == ((0, 1), True, a.key, a.size)
    assert np.array_equal(shown.frame(1), a.frame(5))
    assert np.array_equal(shown.mask(1), a.mask(5))
    assert (shown.frame_file(1), shown.mask_files(1)) == (a.frame_file(5), a.mask_files(5))
    assert with_masks(b) is b
    assert Picked(a, (4, 5)).annotated == (1,)


def test_every_clip_shows_a_frame_with_a_mask_and_what_surrounds_it(sparse, unchanged):
    a, b = DavisSource(sparse).sequences("train")
    clips = ClipDataset([a, b], 3, augmentation=unchanged, stride=(1, 2), clips=200, seed=4)
    seen, where = set(), set()
    for item in range(200):
        clip = clips[0, item]
        known = clip["annotated"].tolist()
        shown = (clip["frames"][:, 0, 0, 0].float() / 10).round().int().tolist()  # frame i is painted 10·i
        masks = (clip["masks"].sum(dim=(1, 2, 3)) // 8).tolist()
        if masks == [i + 1 for i in shown] and all(known) and max(shown) < 4:
            continue  # of b
        assert any(known)
        assert [i in (0, 5) for i in shown] == known
        assert [columns for columns, there in zip(masks, known, strict=True) if there] == [
            i + 1 for i in shown if i in (0, 5)
        ]
        assert all(columns == 0 for columns, there in zip(masks, known, strict=True) if not there)
        seen.update(shown)
        where.update(i for i, there in enumerate(known) if there)
    assert len(seen) >= 7
    assert where == {0, 1, 2}
    assert "annotated" not in ClipDataset([b], 3, augmentation=unchanged)[0, 0]


def test_clips_are_shared_out_by_masks(sparse, unchanged):
    a, b = DavisSource(sparse).sequences("train")
    assert len(ClipDataset([a, b], 3, augmentation=unchanged)) == 2
    drawn = ClipDataset([a, b], 1, augmentation=unchanged, clips=60)
    of_a = [drawn.draw(i, np.random.default_rng(i))[0] is a for i in range(60)]
    assert sum(of_a) == 20, "two masks of six"
    assert frame_weights([Part([a], 0.5), Part([b], 0.5)]) == [0.25, 0.125]


def test_what_is_kept_decoded_knows_which_frames_have_masks(sparse, tmp_path):
    a, _ = DavisSource(sparse).sequences("train")
    (kept,) = DecodedStore("disk", 10**9, None, folder=tmp_path / "kept").keep([a])
    assert kept.annotated == (0, 5)
    assert np.array_equal(kept.mask(5), a.mask(5))
    with pytest.raises(BadInput, match="use labelled data"):
        kept.mask(1)
    # another mask is another entry
    shutil.copy(sparse / "Annotations/480p/a/00000.png", sparse / "Annotations/480p/a/00001.png")
    (again,) = DecodedStore("disk", 10**9, None, folder=tmp_path / "kept").keep(
        DavisSource(sparse).sequences("train")[:1]
    )
    assert again.annotated == (0, 1, 5)
    assert again.mask(1).sum() == 8


def test_objects_of_one_file_are_kept_apart(tmp_path):
    for kind, picture in (
        ("JPEGImages", np.full((8, 12, 3), 5, np.uint8)),
        ("Annotations", np.eye(8, 12, dtype=np.uint8)),
    ):
        (tmp_path / kind / "a").mkdir(parents=True)
        picture[0, 5:] = 2
        Image.fromarray(picture).save(tmp_path / kind / "a/0.png")
    sequences = FolderSource(tmp_path, objects="each").sequences("train")
    kept = DecodedStore("disk", 10**9, None, folder=tmp_path / "kept").keep(sequences)
    assert [s.name for s in kept] == ["a_1", "a_2"]
    assert [int(s.mask(0).sum()) for s in kept] == [8, 7]
    assert [int(s.mask(0).sum()) for s in sequences] == [8, 7]


def test_stored_features_come_with_the_masks_there_are(sparse, tmp_path, unchanged):
    a, _ = DavisSource(sparse).sequences("train")
    store = FeatureStore(
        lambda frames: [frames.mean(2, keepdim=True)], "x", (8, 12), folder=tmp_path / "kept"
    )
    store.prepare([a])
    clips = ClipDataset([a], 2, augmentation=unchanged, features=store, clips=20)
    for item in range(20):
        clip = clips[0, item]
        assert clip["annotated"].any()
        assert torch.equal(clip["masks"].flatten(1).any(1), clip["annotated"])


def test_a_sparse_data_set_is_copied_as_it_is_or_refused(sparse, tmp_path):
    sequences = DavisSource(sparse).sequences("train")
    copy = write_davis({"train": sequences}, tmp_path / "copy")
    again = DavisSource(copy).sequences("train")
    assert [s.annotated for s in again] == [(0, 5), (0, 1, 2, 3)]
    assert main(["data", "check", str(copy)]) == 0
    (copy / "Annotations/480p/a/00005.png").unlink()
    assert main(["data", "check", str(copy)]) == 2
    with pytest.raises(BadInput, match=r"00005\.png is missing"):
        DavisSource(copy).sequences("train")
    with pytest.raises(BadInput, match="a has frames without a mask"):
        write_contest(sequences, tmp_path / "contest")


def test_the_resolutions_folder_may_be_left_out(davis_folder, write_list, capsys):
    root = davis_folder({"a": 2, "b": 3})
    for kind in ("JPEGImages", "Annotations"):
        for folder in (root / kind / "480p").iterdir():
            folder.rename(root / kind / folder.name)
        (root / kind / "480p").rmdir()
    write_list(root, "480p/train", ["b", "a"])
    write_list(root, "val", ["/JPEGImages/a/00001.jpg /Annotations/a/00001.png"])
    b, a = DavisSource(root).sequences("train")
    assert (b.name, len(b), a.name, a.annotated) == ("b", 3, "a", (0, 1))
    assert b.mask(2).sum() == 3 * 8
    (val,) = DavisSource(root).sequences("test")
    assert val.frame_ids == ("a/00001",)
    write_list(root, "val", ["a"])
    assert main(["data", "check", str(root)]) == 0, capsys.readouterr().out
