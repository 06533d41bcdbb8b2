"""Data sets told by patterns: the published layouts by value, and what is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image

from davis_exp.cli import main
from davis_exp.data.sources import FolderSource, open_source
from davis_exp.data.sources.folders import FolderSource as Folders
from davis_exp.data.sources.patterns import Pattern
from davis_exp.utils.errors import BadInput


def ids(i):
    """The objects of frame i, as the fixture draws them."""
    mask = np.zeros((32, 48), np.uint8)
    mask[8:20, i : i + 10], mask[20:28, i + 5 : i + 15] = 1, 2
    return mask


def picture(path, value=9, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def mask(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


EXPECTED = {  # by layout: sequences of both stages, and which of their frames have a mask
    "davis2017": (["dogs", "bike"], ["horse"], (0, 1, 2, 3)),
    "youtube_vos": (["0a4", "003"], ["1ff"], (0,)),
    "fbms": (["bear01", "cars2"], ["dogs01"], (0, 4)),
    "segtrack_v2": (["bmx", "frog", "worm"], ["bmx", "frog", "worm"], (0, 1, 2, 3)),
    "youtube_objects": (["cat_0001_001", "cat_0002_001", "dog_0001_001"],) * 2 + ((0, 5),),
    "pairs": (["p0", "p1", "p2", "p3"],) * 2 + ((0,),),
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("said", [True, False])
def test_the_published_layouts_by_value(name, said, layouts):
    source = open_source(f"{name}:{layouts[name]}" if said else layouts[name])
    assert isinstance(source, FolderSource) or (name, said) == ("davis2017", False)
    train, test, annotated = EXPECTED[name]
    assert [s.name for s in source.sequences("train")] == train
    sequences = source.sequences("test")
    assert [s.name for s in sequences] == test
    assert [i for s in sequences for i in s.index] == list(range(sum(map(len, sequences))))
    for number, sequence in enumerate(sequences):
        assert sequence.annotated == annotated
        for i in annotated:
            shown = number if name == "pairs" else i
            assert np.array_equal(sequence.mask(i), ids(shown) > 0)
            assert (sequence.frame(i)[..., 0] > 128).sum() == pytest.approx(200, abs=8)
    for sequence in source.sequences("train"):
        assert sequence.labelled
        assert sequence.mask(sequence.annotated[-1]).sum() == 200


@pytest.mark.parametrize("name", ["davis2017_each", "youtube_vos_each"])
def test_each_object_is_a_sequence_of_its_own(name, layouts):
    source = open_source(f"{name}:{layouts[name]}")
    sequences = source.sequences("test")
    clip = {"davis2017_each": "horse", "youtube_vos_each": "1ff"}[name]
    assert [s.name for s in sequences] == [f"{clip}_1", f"{clip}_2"]
    assert len({s.key for s in sequences}) == 1, "held out together"
    assert [s.index[0] for s in sequences] == [0, len(sequences[0])]
    assert sequences[1].frame_ids[0] == f"{clip}_2/00000"
    for number, sequence in enumerate(sequences, start=1):
        for i in sequence.annotated:
            assert np.array_equal(sequence.mask(i), ids(i) == number)
    assert [s.name for s in source.sequences("test")] == [f"{clip}_1", f"{clip}_2"], "from what was kept"


def test_objects_in_folders_are_sequences_too(layouts):
    source = Folders(
        layouts["segtrack_v2"],
        annotations=["GroundTruth/{sequence}/{frame}", "GroundTruth/{sequence}/{object}/{frame}"],
        objects="each",
    )
    sequences = {s.name: s for s in source.sequences("train")}
    assert list(sequences) == ["bmx_1", "bmx_2", "frog_255", "worm_255"]
    assert np.array_equal(sequences["bmx_2"].mask(3), ids(3) == 2)
    assert np.array_equal(sequences["frog_255"].mask(3), ids(3) > 0)


def test_objects_of_colours_before_a_white_background(layouts):
    sequences = open_source(f"fbms:{layouts['fbms']}").sequences("test")
    assert np.array_equal(sequences[0].mask(4), ids(4) > 0)
    each = Folders(
        layouts["fbms"],
        "{split}/{sequence}/{frame}",
        "{split}/{sequence}/GroundTruth/{frame}_gt",
        test="Testset",
        objects="each",
        background="border",
    ).sequences("test")
    assert [s.name for s in each] == ["dogs01_0000ff", "dogs01_ff0000"]
    assert np.array_equal(each[1].mask(0), ids(0) == 1)
    assert np.array_equal(each[0].mask(4), ids(4) == 2)


def test_void_is_no_object_and_255_alone_is_one(tmp_path):
    for name, values in (("a", [0, 1, 255, 3]), ("b", [0, 255, 255, 0])):
        picture(tmp_path / f"JPEGImages/{name}/0.png", size=(1, 4))
        mask(tmp_path / f"Annotations/{name}/0.png", [values])
    sequences = Folders(tmp_path, objects="each").sequences("train")
    assert [s.name for s in sequences] == ["a_1", "a_3", "b_255"]
    assert sequences[1].mask(0).tolist() == [[0, 0, 0, 1]]
    marked = sequences[1].annotation(0)
    assert marked.void is not None
    assert marked.void.tolist() == [[False, False, True, False]], "not judged for any object"
    assert sequences[2].annotation(0).void is None
    known = Folders(tmp_path, objects="each", void=None).sequences("train")
    assert [s.name for s in known] == ["a_1", "a_3", "a_255", "b_255"]


def test_masks_that_change_are_looked_at_again(tmp_path):
    picture(tmp_path / "JPEGImages/a/0.png", size=(1, 4))
    mask(tmp_path / "Annotations/a/0.png", [[0, 1, 1, 0]])
    assert [s.name for s in Folders(tmp_path, objects="each").sequences("train")] == ["a_1"]
    mask(tmp_path / "Annotations/a/0.png", [[0, 2, 7, 9]])
    assert [s.name for s in Folders(tmp_path, objects="each").sequences("train")] == ["a_2", "a_7", "a_9"]


def test_masks_are_found_by_name_or_by_number(tmp_path):
    for i in (8, 9, 10):
        picture(tmp_path / f"v/img_{i}.jpg")
    mask(tmp_path / "v/seg/mask_00009.png", np.full((6, 8), 255))
    mask(tmp_path / "v/seg/._mask_00008.png", np.full((6, 8), 255))
    (sequence,) = Folders(tmp_path, "{sequence}/{frame}", "{sequence}/seg/{frame}").sequences("train")
    assert sequence.frame_ids == ("v/img_8", "v/img_9", "v/img_10")
    assert sequence.annotated == (1,)
    with pytest.raises(BadInput, match=r"img_8\.jpg.*use labelled data"):
        sequence.mask(0)


def test_frames_and_masks_in_one_folder_are_told_apart_by_their_suffix(tmp_path):
    for i in range(2):
        picture(tmp_path / f"a/{i}.jpg")
        mask(tmp_path / f"a/{i}.png", np.full((6, 8), 255))
    (sequence,) = Folders(tmp_path, "{sequence}/{frame}.jpg", "{sequence}/{frame}.png").sequences("train")
    assert (len(sequence), sequence.annotated) == (2, (0, 1))
    with pytest.raises(
        BadInput, match=r"0\.(png|jpg) and .*0\.(png|jpg) are the same frame of 'a'|same frame of a"
    ):
        Folders(tmp_path, "{sequence}/{frame}", "{sequence}/{frame}").sequences("train")


def test_lists_name_sequences_in_their_order(tmp_path):
    for name in "abc":
        picture(tmp_path / f"JPEGImages/{name}/0.jpg")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/mine.txt").write_text("c\n\na\n")
    source = Folders(tmp_path, lists="lists/{split}.txt", train="mine", test="other")
    assert [s.name for s in source.sequences("train")] == ["c", "a"]
    assert not source.sequences("train")[0].labelled
    with pytest.raises(BadInput, match=r"no file .*other\.txt"):
        source.sequences("test")
    (tmp_path / "lists/mine.txt").write_text("a\nzebra\n")
    with pytest.raises(BadInput, match=r"mine\.txt line 2 names zebra"):
        source.sequences("train")
    (tmp_path / "lists/mine.txt").write_text("\n")
    with pytest.raises(BadInput, match="lists nothing"):
        source.sequences("train")


def test_what_cannot_be_is_refused_in_a_line(tmp_path):
    with pytest.raises(BadInput, match=r"no frames at .*JPEGImages/\{sequence\}/\{frame\}; set data\.root"):
        Folders(tmp_path).sequences("train")
    with pytest.raises(BadInput, match="stages"):
        Folders(tmp_path).sequences("val")
    for pattern, reason in (
        ("../{frame}", "leaves the folder"),
        ("/etc/{frame}", "leaves the folder"),
        ("{frame}/x", "must end"),
        ("images", "must end"),
    ):
        with pytest.raises(ValueError, match=reason):
            Pattern(pattern)
    for wrong in ([], 3, [3], None):
        with pytest.raises(ValueError, match="frames: give a pattern or a list of them"):
            Folders(tmp_path, wrong)
    with pytest.raises(ValueError, match=r"^annotations: '/x/\{frame\}' leaves the folder"):
        Folders(tmp_path, annotations="/x/{frame}")
    with pytest.raises(ValueError, match="objects must be merge or each"):
        Folders(tmp_path, objects="all")
    picture(tmp_path / "JPEGImages/a/x.jpg")
    mask(tmp_path / "Annotations/a/y.png", np.zeros((6, 8)))
    with pytest.raises(BadInput, match=r"y\.png is of no frame beside .*x\.jpg"):
        Folders(tmp_path).sequences("train")
    for kind in ("a_b/c", "a/b_c"):
        picture(tmp_path / f"two/{kind}/0.jpg")
    with pytest.raises(BadInput, match="same frame of a_b_c"):
        Folders(tmp_path / "two", "{class}/{video}/{frame}").sequences("train")


def test_a_folder_of_no_layout_names_the_layouts(tmp_path):
    with pytest.raises(BadInput, match=r"no data set at .*<layout>:<folder> \(davis2017, .*youtube_vos"):
        open_source(tmp_path)
    with pytest.raises(BadInput, match="no data set at nosuch:x"):
        open_source("nosuch:x")


def test_a_name_may_stand_in_a_pattern_twice(tmp_path):
    picture(tmp_path / "a/a_1.jpg")
    picture(tmp_path / "a/b_2.jpg")
    found = list(Pattern("{sequence}/{sequence}_{frame}").find(tmp_path, {}))
    assert [values for values, _ in found] == [{"sequence": "a", "frame": "1"}]
    picture(tmp_path / "x+x/1.jpg")
    assert [v["name"] for v, _ in Pattern("{name}+{name}/{frame}").find(tmp_path, {})] == ["x"]


@pytest.mark.parametrize("name", EXPECTED)
def test_data_check_finds_them_in_order(name, layouts, capsys):
    assert main(["data", "check", f"{name}:{layouts[name]}"]) == 0, capsys.readouterr().out
    assert ": 0 defects" in capsys.readouterr().out


def test_data_check_names_a_mask_that_cannot_be_used(layouts, tmp_path, capsys):
    root = shutil.copytree(layouts["fbms"], tmp_path / "fbms")
    mask(root / "Testset/dogs01/GroundTruth/dogs01_0005_gt.png", np.zeros((5, 5)))
    (root / "Trainingset/cars2/GroundTruth/cars2_0001.pgm").write_bytes(b"P5 32 48 255 cut")
    assert main(["data", "check", str(root)]) == 2
    said = capsys.readouterr().out
    assert "dogs01_0005_gt.png is 5x5 where its frame is 48x32" in said
    assert "cars2_0001.pgm cannot be read" in said


def test_clips_of_one_name_are_one_clip_unless_stages_have_folders_of_their_own(layouts, tmp_path):
    davis = open_source(layouts["davis2017"]).sequences("test")[0]
    (same,) = open_source(f"davis2017:{layouts['davis2017']}").sequences("test")
    assert same.key == davis.key, "held out together, whoever reads it"
    for part in ("train", "valid"):
        picture(tmp_path / part / "JPEGImages/001/0.jpg")
    source = Folders(tmp_path, "{split}/JPEGImages/{sequence}/{frame}", train="train", test="valid")
    assert source.sequences("train")[0].key != source.sequences("test")[0].key
