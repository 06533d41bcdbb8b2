import cv2
import numpy as np
import pytest
from PIL import Image

from davis_exp.data import png
from davis_exp.data.frames import image_size, read_frame
from davis_exp.data.masks import MaskReader
from davis_exp.data.sources import DavisSource
from davis_exp.utils.errors import BadInput


def refusal(call):
    """The message of the BadInput that `call` raises, which must be one line."""
    with pytest.raises(BadInput) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_real_train_split_in_list_order(davis_root):
    sequences = DavisSource(davis_root).sequences("train")
    lines = (davis_root / "ImageSets/360p/train.txt").read_text().split("\n")
    listed = [line.split()[0].split("/")[3:] for line in lines if line]
    assert [s.name for s in sequences] == list(dict.fromkeys(name for name, _ in listed))
    assert [i for s in sequences for i in s.frame_ids] == [f"{n}/{f[:-4]}" for n, f in listed]
    assert [i for s in sequences for i in s.index] == list(range(2079))
    assert len(sequences) == 30
    assert all(s.labelled for s in sequences)
    assert sequences[0].size == sequences[0].frame(0).shape[:2] == (360, 640)


def test_real_val_split_against_pillow(davis_root):
    sequences = DavisSource(davis_root).sequences("test")
    assert len(sequences) == 6
    assert [i for s in sequences for i in s.index] == list(range(283))
    dog = next(s for s in sequences if s.name == "dog")
    with Image.open(davis_root / "Annotations/480p/dog/00007.png") as image:
        expected = np.asarray(image.convert("L")) > 0
    assert dog.mask(7).dtype == np.uint8
    assert np.array_equal(dog.mask(7), expected)
    with Image.open(davis_root / "JPEGImages/480p/dog/00007.jpg") as image:
        assert np.array_equal(dog.frame(7), np.asarray(image))
    assert dog.size == (480, 854)


def test_real_data_has_the_fifteen_known_empty_masks(davis_root):
    sequences = {s.name: s for s in DavisSource(davis_root).sequences("train")}
    bumps, surf = sequences["bmx-bumps"], sequences["surf"]
    empty = [i for i in range(len(bumps)) if not bumps.mask(i).any()]
    assert empty == [60, *range(62, 75)]
    assert not surf.mask(54).any()
    assert surf.mask(53).any()


def test_list_of_sequences_by_year(davis_folder, write_list):
    root = davis_folder({"b": 3, "a": 2})
    write_list(root, "2016/train", ["b", "", "a"])
    write_list(root, "2017/train", ["a"])
    b, a = DavisSource(root).sequences("train")
    assert (b.name, b.index, b.frame_ids) == ("b", (0, 1, 2), ("b/00000", "b/00001", "b/00002"))
    assert (a.name, a.index) == ("a", (3, 4))
    assert a.mask(1).sum() == 2 * 8


def test_frames_come_by_number_and_only_those_listed(davis_folder, write_list):
    root = davis_folder({"a": 12})
    folder = root / "JPEGImages/480p/a"
    for path in folder.iterdir():
        path.rename(folder / f"{int(path.stem)}.jpg")
    for path in (root / "Annotations/480p/a").iterdir():
        path.rename(path.with_name(f"{int(path.stem)}.png"))
    write_list(root, "2016/train", ["a"])
    assert DavisSource(root).sequences("train")[0].frame_ids == tuple(f"a/{i}" for i in range(12))
    lines = [f"/JPEGImages/480p/a/{i}.jpg /Annotations/480p/a/{i}.png" for i in (10, 9)]
    write_list(root, "480p/train", lines)
    assert DavisSource(root).sequences("train")[0].frame_ids == ("a/9", "a/10")


def test_names_may_have_spaces_and_numbers_anywhere(davis_folder, write_list):
    root = davis_folder({"bear one": 12, "a": 1})
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / kind / "480p/bear one"
        for i in range(11, -1, -1):
            (folder / f"{i:05d}.{suffix}").rename(folder / f"frame {i + 7}_v2.{suffix}")
        (folder / f"._frame 7_v2.{suffix}").write_bytes(b"\0\5\x16\7")
    write_list(root, "2016/train", ["bear one  ", "a"])
    expected = tuple(f"bear one/frame {i + 7}_v2" for i in range(12))
    bear, a = DavisSource(root).sequences("train")
    assert (bear.frame_ids, a.name) == (expected, "a")
    assert [bear.mask(i).sum() for i in range(12)] == [8 * (i + 1) for i in range(12)]
    lines = [f"{{0}}JPEGImages/480p/{name}.jpg {{0}}Annotations/480p/{name}.png" for name in expected]
    for slash in ("/", ""):
        write_list(root, "480p/train", [line.format(slash) for line in lines[:3]])
        assert DavisSource(root).sequences("train")[0].frame_ids == expected[:3]
    (root / "ImageSets/480p/train.txt").write_bytes("bear one\r\na\r\n".encode("utf-8-sig"))
    assert [s.name for s in DavisSource(root).sequences("train")] == ["bear one", "a"]


def test_resolution_prefers_480p_where_it_is_whole(davis_folder, write_list):
    davis_folder({"a": 1, "b": 1}, "360p", size=(6, 9))
    root = davis_folder({"a": 1}, "480p")
    write_list(root, "2016/train", ["a"])
    write_list(root, "2016/val", ["a", "b"])
    assert DavisSource(root).sequences("train")[0].size == (8, 12)
    assert [s.size for s in DavisSource(root).sequences("test")] == [(6, 9), (6, 9)]
    small = DavisSource(root, resolution="360p").sequences("train")[0]
    assert small.size == (6, 9)
    assert small.key == DavisSource(root).sequences("train")[0].key, "one clip at two resolutions is one clip"
    assert "480p/b" in refusal(lambda: DavisSource(root, resolution="480p").sequences("test"))
    assert "there: 360p, 480p" in refusal(lambda: DavisSource(root, "1080p").sequences("train"))


def test_named_splits(davis_folder, write_list):
    root = davis_folder({"a": 1, "b": 2})
    write_list(root, "480p/mine", ["/JPEGImages/480p/b/00000.jpg"])
    assert [s.name for s in DavisSource(root, train="mine").sequences("train")] == ["b"]
    message = refusal(lambda: DavisSource(root).sequences("train"))
    assert "'train'" in message
    assert "there are mine" in message


def test_unlabelled(davis_folder, write_list):
    root = davis_folder({"a": 2}, labelled=False)
    write_list(root, "2016/val", ["a"])
    a = DavisSource(root).sequences("test")[0]
    assert not a.labelled
    assert a.frame(1).shape == (8, 12, 3)
    assert "no annotations" in refusal(lambda: a.mask(0))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGB", "RGBA", "I;16"])
def test_masks_of_any_mode(tmp_path, mode):
    expected = np.zeros((6, 9), bool)
    expected[2:4, 3:7] = True
    path = tmp_path / "mask.png"
    if mode == "P":
        image = Image.fromarray(expected.astype(np.uint8))
        image.putpalette([0, 0, 0, 128, 0, 0])  # DAVIS' own palette: dark red is the first object
    elif mode == "I;16":
        image = Image.fromarray(expected.astype(np.uint16))
    else:
        image = Image.fromarray(np.where(expected, 255, 0).astype(np.uint8)).convert(mode)
    image.save(path)
    with Image.open(path) as saved:
        assert saved.mode[0] == mode[0]
    assert np.array_equal(MaskReader().read(path).inside, expected)


def test_alpha_does_not_count(tmp_path):
    """As bear/00077.png of the originals: grey with an opaque alpha channel."""
    grey = np.zeros((4, 4), np.uint8)
    grey[0] = 255
    Image.merge("LA", (Image.fromarray(grey), Image.new("L", (4, 4), 255))).save(tmp_path / "la.png")
    assert MaskReader().read(tmp_path / "la.png").inside.sum() == 4


VALUES = [0, 1, 38, 127, 128, 255]


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("L", VALUES, [0, 0, 0, 0, 1, 1]),  # as the judge rounds
        ("LA", VALUES, [0, 0, 0, 0, 1, 1]),
        ("RGB", VALUES, [0, 0, 0, 0, 1, 1]),
        ("L", [0, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 1]),
        ("RGB", [0, 1, 1, 0, 0, 1], [0, 1, 1, 0, 0, 1]),
        ("L", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
        ("L", [0, 2, 2, 0, 0, 2], [0, 1, 1, 0, 0, 1]),  # one object, whatever its number
        ("P", VALUES, [0, 1, 1, 1, 1, 0]),  # every object of a palette mask, and no void
        ("I;16", VALUES, [0, 0, 0, 0, 1, 1]),
        ("I;16", [0, 1, 257, 32767, 32768, 65535], [0, 0, 0, 0, 1, 1]),
    ],
)
def test_soft_masks_are_rounded(tmp_path, mode, values, expected):
    image = Image.fromarray(np.array([values], np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image.putpalette([0, 0, 0, *range(1, 256), *range(1, 256), *range(1, 256)])
    elif mode != "I;16":
        image = image.convert(mode)
    image.save(tmp_path / "mask.png")
    assert MaskReader().read(tmp_path / "mask.png").inside.tolist() == [expected]


def test_a_mask_announcing_too_many_pixels_is_bad_input(tmp_path, monkeypatch):
    Image.new("L", (50, 50)).save(tmp_path / "mask.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(png, "MAX_PIXELS", 1000)
    assert "mask.png cannot be read" in refusal(lambda: MaskReader().read(tmp_path / "mask.png").inside)


def test_corrupt_and_truncated_frames_are_named(davis_folder, write_list):
    root = davis_folder({"a": 3}, size=(64, 64))
    write_list(root, "2016/train", ["a"])
    a = DavisSource(root).sequences("train")[0]
    folder = root / "JPEGImages/480p/a"
    (folder / "00000.jpg").write_bytes(b"\xff\xd8 nothing like a JPEG")
    whole = (folder / "00001.jpg").read_bytes()
    (folder / "00001.jpg").write_bytes(whole[: len(whole) - 40])
    (folder / "00002.jpg").unlink()
    for i, reason in enumerate(("cannot be read", "cannot be read", "is missing")):
        message = refusal(lambda i=i: a.frame(i))
        assert str(folder / f"{i:05d}.jpg") in message
        assert reason in message


def test_mask_of_another_size_is_named_with_both_sizes(davis_folder, write_list):
    root = davis_folder({"a": 2})
    write_list(root, "2016/train", ["a"])
    Image.new("L", (5, 4)).save(root / "Annotations/480p/a/00001.png")
    a = DavisSource(root).sequences("train")[0]
    assert a.mask(0).shape == (8, 12)
    message = refusal(lambda: a.mask(1))
    assert "00001.png is 4x5" in message
    assert "8x12" in message


def test_what_is_missing_is_named(davis_folder, write_list, tmp_path):
    message = refusal(lambda: DavisSource(tmp_path / "nowhere").sequences("train"))
    assert "ImageSets/*/train.txt" in message
    assert "davis-exp data download davis2016" in message
    root = davis_folder({"a": 2})
    write_list(root, "480p/train", ["/JPEGImages/480p/a/00000.jpg", "/JPEGImages/480p/a/00007.jpg"])
    assert "a/00007.jpg is missing" in refusal(lambda: DavisSource(root).sequences("train"))
    write_list(root, "480p/train", ["a", "zebra"])
    assert "480p/zebra" in refusal(lambda: DavisSource(root).sequences("train"))
    write_list(root, "480p/train", ["some/thing"])
    assert "train.txt line 1" in refusal(lambda: DavisSource(root).sequences("train"))
    write_list(root, "480p/train", [""])
    assert "lists nothing" in refusal(lambda: DavisSource(root).sequences("train"))
    (root / "ImageSets/480p/train.txt").write_bytes("Bär".encode("latin-1"))
    assert "train.txt is not UTF-8" in refusal(lambda: DavisSource(root).sequences("train"))
    write_list(root, "480p/train", ["a"])
    line = "/JPEGImages/480p/a/00001.jpg /Annotations/480p/a/00001.png"
    write_list(root, "480p/train", ["/JPEGImages/480p/a/00000.jpg /Annotations/480p/a/00000.png", line])
    (root / "Annotations/480p/a/00001.png").unlink()
    assert "00001.png is missing (1 of 2)" in refusal(lambda: DavisSource(root).sequences("train"))
    with pytest.raises(BadInput, match="not 'val'"):
        DavisSource(root).sequences("val")


@pytest.mark.parametrize(
    "line",
    [
        "..",
        "/..",
        "/JPEGImages/480p/../00000.jpg /Annotations/480p/../00000.png",
        "/JPEGImages/../secret/00000.jpg",
        "../../secret",
        "JPEGImages/480p/a/..",
    ],
)
def test_no_line_of_a_list_is_followed_out_of_the_data_set(davis_folder, write_list, line):
    root = davis_folder({"a": 2})
    draw = root / "JPEGImages/480p/a/00000.jpg"
    for place in ("JPEGImages", "JPEGImages/secret", "secret"):  # what such lines could reach
        (root / place).mkdir(exist_ok=True)
        (root / place / "00000.jpg").write_bytes(draw.read_bytes())
    write_list(root, "480p/train", ["/JPEGImages/480p/a/00001.jpg", line])
    message = refusal(lambda: DavisSource(root).sequences("train"))
    assert "480p/train.txt line 2" in message
    assert "leaves the folder: name what lies in it" in message


def test_frames_are_what_pillow_decodes(davis_root, tmp_path):
    """Frames are decoded by OpenCV, and in the odd cases by Pillow: the pixels must not tell which."""
    real = DavisSource(davis_root).sequences("test")[0].frames[0]
    with Image.open(real) as image:
        image = image.convert("RGB").crop((0, 0, 101, 67))
    cases = {
        "plain.jpg": (image, {}),
        "grey.jpg": (image.convert("L"), {}),
        "cmyk.jpg": (image.convert("CMYK"), {}),
        "progressive.jpg": (image, {"progressive": True, "subsampling": 0}),
        "lossless.png": (image, {}),
    }
    for name, (picture, how) in cases.items():
        picture.save(tmp_path / name, **how)
        with Image.open(tmp_path / name) as saved:
            expected = np.asarray(saved.convert("RGB"))
        assert np.array_equal(read_frame(tmp_path / name), expected)
        assert image_size(tmp_path / name) == (67, 101)
        assert read_frame(tmp_path / name, 1).shape == (34, 51, 3)
        even = expected[:66, :100].reshape(33, 2, 50, 2, 3).mean((1, 3))
        if name not in ("lossless.png", "cmyk.jpg"):  # which are stretched a little to the odd size
            assert np.abs(read_frame(tmp_path / name, 1)[:33, :50] - even).mean() < 2


def test_half_frames_are_the_mean_of_four_pixels(davis_root):
    for sequence in DavisSource(davis_root).sequences("test")[:3]:
        full = sequence.frame(0)
        mean = cv2.resize(full, (427, 240), interpolation=cv2.INTER_AREA)
        assert np.abs(sequence.reduced(0, 1).astype(int) - mean).mean() < 1
        quarter = sequence.reduced(0, 2)
        assert quarter.shape == (120, 214, 3)
        assert sequence.reduced(0, 4).shape == (30, 54, 3)
