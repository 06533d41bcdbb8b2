"""`davis-exp data check`: a sound data set is clean, and each way to break it is named in one line."""

import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from davis_exp.cli import main
from davis_exp.data.check import contents, survey
from davis_exp.data.masks import MaskReader
from davis_exp.data.sources import open_source
from davis_exp.utils.errors import BadInput

SIZE = (40, 60)
LISTED = {"train": ("bus", 6), "val": ("swan", 4)}
FRAME, MASK = "JPEGImages/480p/bus/{:05d}.jpg", "Annotations/480p/bus/{:05d}.png"
TABLE = "paths.json"


def picture(seed=0, size=SIZE):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def shape(size=SIZE, value=255):
    mask = np.zeros(size, np.uint8)
    mask[size[0] // 4 : size[0] // 2, 8:30] = value
    return mask


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound") / "davis"
    for name, length in LISTED.values():
        for i in range(length):
            for kind in ("JPEGImages", "Annotations"):
                (root / kind / "480p" / name).mkdir(parents=True, exist_ok=True)
            picture(i).save(root / f"JPEGImages/480p/{name}/{i:05d}.jpg", quality=90)
            Image.fromarray(shape()).save(root / f"Annotations/480p/{name}/{i:05d}.png")
    (root / "ImageSets/2016").mkdir(parents=True)
    for split, (name, _) in LISTED.items():
        (root / f"ImageSets/2016/{split}.txt").write_text(f"{name}\n")
    return root


@pytest.fixture
def davis(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "davis")


@pytest.fixture
def contest(sound, tmp_path):
    root = shutil.copytree(sound, tmp_path / "contest")
    shutil.rmtree(root / "ImageSets")
    frames = sorted(path.relative_to(root).as_posix() for path in root.glob("JPEGImages/*/*/*"))
    masks = [frame.replace("JPEGImages", "Annotations").replace(".jpg", ".png") for frame in frames]
    edit(root, lambda table: table.update(raw=numbered(frames), annotation=numbered(masks)))
    return root


def numbered(paths):
    return {str(i): path for i, path in enumerate(paths)}


def edit(root, change):
    path = root / TABLE
    table = json.loads(path.read_text()) if path.exists() else {}
    change(table)
    path.write_text(json.dumps(table))


def swap(column, i, k):
    column[i], column[k] = column[k], column[i]


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def in_colour(root):
    Image.fromarray(np.stack([shape(value=128), shape() * 0, shape() * 0], axis=2)).save(
        root / MASK.format(2)
    )


def two_objects(root):
    palette = shape(value=1)
    palette[30:] = 2
    image = Image.fromarray(palette)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(root / MASK.format(2))


def save(mode):
    def change(root):
        deep = Image.fromarray(shape().astype(np.uint16) * 257)
        (deep if mode == "I;16" else Image.fromarray(shape()).convert(mode)).save(root / MASK.format(2))

    return change


def ramp(root):
    mask = shape()
    mask[12] = 77
    Image.fromarray(mask).save(root / MASK.format(2))


def alpha(root):
    Image.merge("LA", (Image.new("L", SIZE[::-1]), Image.fromarray(shape()))).save(root / MASK.format(2))


def as_jpeg(root):
    data = io.BytesIO()
    Image.new("L", SIZE[::-1], 255).save(data, "JPEG")
    (root / MASK.format(2)).write_bytes(data.getvalue())


def write_list(root, *lines):
    (root / "ImageSets/2016/train.txt").write_text("".join(f"{line}\n" for line in lines))


def listed_frames(root, numbers, masks=True):
    rows = [f"/{FRAME.format(i)}" + f" /{MASK.format(i)}" * masks for i in numbers]
    write_list(root, *rows)


IMAGES = {
    "LA": (save("LA"), "bus/00002.png is grey with alpha (LA): save one 8-bit channel of 0 and 255 (--fix"),
    "palette": (save("P"), "bus/00002.png is a palette mask: save"),
    "RGB": (save("RGB"), "bus/00002.png is a colour image (RGB): save"),
    "RGBA": (save("RGBA"), "bus/00002.png is a colour image with alpha (RGBA): save"),
    "one bit": (save("1"), "bus/00002.png is a 1-bit mask: save"),
    "sixteen bits": (save("I;16"), "bus/00002.png is a 16-bit mask: save"),
    "0/1": (lambda r: Image.fromarray(shape(value=1)).save(r / MASK.format(2)), "is a 0/1 mask: save"),
    "0 and 200": (
        lambda r: Image.fromarray(shape(value=200)).save(r / MASK.format(2)),
        "bus/00002.png is a mask of 0 and 200: save",
    ),
    "JPEG": (as_jpeg, "bus/00002.png is a JPEG file: save"),
    "soft": (ramp, "bus/00002.png is soft: it holds 77 too"),
    "dim": (
        lambda r: Image.fromarray(shape(value=38)).save(r / MASK.format(2)),
        "bus/00002.png is a mask of 0 and 38: save",
    ),
    "coloured": (in_colour, "bus/00002.png is a colour image (RGB): save"),
    "objects": (two_objects, "bus/00002.png is a palette mask of several objects, which count as one"),
    "in alpha": (alpha, "bus/00002.png has its object in the alpha channel: save"),
    "mask size": (
        lambda r: Image.fromarray(shape((20, 30))).save(r / MASK.format(2)),
        "bus/00002.png is 30x20 where its frame is 60x40: write it at that size",
    ),
    "frame sizes": (
        lambda r: [picture(9, (20, 30)).save(r / FRAME.format(i)) for i in (1, 2)],
        "bus: 00001.jpg, 00002.jpg is 30x20 where the other frames are 60x40",
    ),
    "animated frame": (
        lambda r: [
            (r / FRAME.format(2)).unlink(),
            picture().save(r / FRAME.format(2), "png", save_all=True, append_images=[picture(1)]),
        ],
        "frame JPEGImages/480p/bus/00002.jpg is an animation of 2 pictures",
    ),
    "truncated frame": (
        lambda r: cut(r / FRAME.format(2)),
        "frame JPEGImages/480p/bus/00002.jpg cannot be read",
    ),
    "nearly whole frame": (
        lambda r: cut(r / FRAME.format(2), 0.97),
        "frame JPEGImages/480p/bus/00002.jpg cannot be read",
    ),
    "truncated mask": (
        lambda r: cut(r / MASK.format(2)),
        "mask Annotations/480p/bus/00002.png cannot be read",
    ),
    "empty frame": (lambda r: cut(r / FRAME.format(2), 0), "bus/00002.jpg cannot be read (not an image)"),
    "text": (
        lambda r: (r / MASK.format(2)).write_text("hello"),
        "bus/00002.png cannot be read (not an image)",
    ),
}
DAVIS = {
    "gap": (
        lambda r: [(r / name.format(i)).unlink() for name in (FRAME, MASK) for i in (1, 3, 4)],
        "JPEGImages/480p/bus: frames are missing from the numbering: 00001, 00003-00004: restore them",
    ),
    "no mask": (lambda r: (r / MASK.format(3)).unlink(), "Annotations/480p/bus lacks the masks of 00003"),
    "no frame": (
        lambda r: (r / FRAME.format(5)).unlink(),
        "Annotations/480p/bus: 00005 has no frame in JPEGImages/480p/bus",
    ),
    "no frames": (
        lambda r: shutil.rmtree((r / FRAME.format(0)).parent),
        "Annotations/480p/bus has no frames: there is no JPEGImages/480p/bus",
    ),
    "empty folder": (
        lambda r: [path.unlink() for path in (r / FRAME.format(0)).parent.iterdir()],
        "JPEGImages/480p/bus holds no frames",
    ),
    "absent": (
        lambda r: write_list(r, "bus", "tram"),
        "train.txt lists tram, but there is no JPEGImages/480p/tram",
    ),
    "unlisted": (
        lambda r: (r / "ImageSets/2016/val.txt").unlink(),
        "JPEGImages/480p/swan is in no list of ImageSets",
    ),
    "listed twice": (lambda r: write_list(r, "bus", "bus"), "train.txt lists a duplicate: bus"),
    "frame listed twice": (lambda r: listed_frames(r, [0, 1, 1, 2, 3, 4, 5]), "a duplicate: bus/00001.jpg"),
    "absent frame": (
        lambda r: listed_frames(r, range(8)),
        "JPEGImages/480p/bus lacks 00006.jpg, 00007.jpg, listed in ImageSets",
    ),
    "unlisted frames": (
        lambda r: listed_frames(r, range(1)),
        "JPEGImages/480p/bus: 00001.jpg, 00002.jpg, 00003.jpg and 2 more is in no list",
    ),
    "listed masks": (
        lambda r: (listed_frames(r, range(6)), shutil.rmtree((r / MASK.format(0)).parent)),
        "Annotations/480p/bus lacks the masks of 00000, 00001, 00002 and 3 more",
    ),
    "a line of nonsense": (lambda r: write_list(r, "bus", "a/b/c"), "train.txt line 2: a/b/c is neither"),
    "a line that leaves": (lambda r: write_list(r, "bus", ".."), "train.txt line 2: .. leaves the folder"),
    "binary list": (
        lambda r: (r / "ImageSets/2016/train.txt").write_bytes(b"\xff\xfe\x00"),
        "ImageSets/2016/train.txt is no list (",
    ),
    "empty list": (lambda r: write_list(r), "ImageSets/2016/train.txt lists nothing"),
    "no lists": (lambda r: shutil.rmtree(r / "ImageSets"), "ImageSets holds no list"),
    "two files of one frame": (
        lambda r: picture().save(r / FRAME.format(2).replace("jpg", "png")),
        "00002.png and 00002.jpg are a duplicate: both are frame 2",
    ),
    "no number": (
        lambda r: picture().save(r / "JPEGImages/480p/bus/cover.jpg"),
        "bus/cover.jpg has no number",
    ),
    "mask of another format": (
        lambda r: (r / MASK.format(2)).rename(r / MASK.format(2).replace("png", "jpg")),
        "Annotations/480p/bus/00002.jpg is no PNG file",
    ),
}
CONTEST = {
    "not JSON": (lambda r: (r / TABLE).write_text("raw: 0"), "paths.json is not JSON"),
    "a list": (lambda r: (r / TABLE).write_text("[]"), "paths.json has no column raw of paths: write"),
    "no frames": (lambda r: edit(r, lambda t: t.pop("raw")), "paths.json has no column raw of paths"),
    "huge": (lambda r: os.truncate(r / TABLE, 2**27), "paths.json is not JSON that can be read ("),
    "letters": (lambda r: edit(r, lambda t: t["raw"].update(x="a/0.jpg")), "raw: index x is not an integer"),
    "a fraction": (
        lambda r: edit(r, lambda t: t["raw"].update({"1.0": "a/0.jpg"})),
        "index 1.0 is not an integer",
    ),
    "null": (lambda r: edit(r, lambda t: t["raw"].update({"2": None})), "raw: index 2 is null"),
    "a number": (lambda r: edit(r, lambda t: t["raw"].update({"2": 7})), "raw: index 2 is 7, not a path"),
    "both slashes": (
        lambda r: edit(r, lambda t: t["raw"].update({"2": "JPEGImages\\480p/bus/00002.jpg"})),
        "480p/bus/00002.jpg mixes / and \\: use one kind of slash",
    ),
    "leaving": (
        lambda r: edit(r, lambda t: t["raw"].update({"2": "../contest/bus/00002.jpg"})),
        "raw: index 2: ../contest/bus/00002.jpg leaves the folder",
    ),
    "no folder": (
        lambda r: edit(r, lambda t: t["raw"].update({"2": "2.jpg"})),
        "index 2: 2.jpg has no clip folder",
    ),
    "written twice": (
        lambda r: (r / TABLE).write_text((r / TABLE).read_text().replace('"1":', '"0":')),
        "paths.json: 0, 0 is written twice: a duplicate",
    ),
    "one file twice": (
        lambda r: edit(r, lambda t: t["raw"].update({"2": t["raw"]["1"]})),
        "raw: index 2 is a duplicate: JPEGImages/480p/bus/00001.jpg is index 1's too",
    ),
    "absent files": (lambda r: (r / FRAME.format(2)).unlink(), "raw: JPEGImages/480p/bus lacks 00002.jpg"),
    "absent masks": (
        lambda r: shutil.rmtree((r / MASK.format(0)).parent),
        "annotation: Annotations/480p/bus lacks 00000.png, 00001.png, 00002.png and 3 more",
    ),
    "null mask": (
        lambda r: edit(r, lambda t: t["annotation"].update({"2": None})),
        "clip bus lacks the annotation of index 2: add it",
    ),
    "mask alone": (
        lambda r: edit(r, lambda t: t["annotation"].update({"70": t["annotation"].pop("2")})),
        "index 70 has an annotation but no frame",
    ),
    "masks exchanged": (
        lambda r: edit(r, lambda t: swap(t["annotation"], "2", "3")),
        "clip bus: index 2 pairs 00002.jpg with the mask bus/00003.png",
    ),
    "order of text": (
        lambda r: edit(r, lambda t: [swap(column, "2", "3") for column in t.values()]),
        "clip bus: index 3 is 00002.jpg, but the index before it is 00003.jpg",
    ),
    "gap": (
        lambda r: edit(r, lambda t: [column.pop("2") for column in t.values()]),
        "clip bus: frames are missing from the numbering: 00002",
    ),
    "unnamed": (
        lambda r: edit(r, lambda t: [t["raw"].pop(str(i)) for i in range(6, 10)]),
        "paths.json does not name 00000.jpg, 00001.jpg, 00002.jpg and 1 more of JPEGImages/480p/swan",
    ),
    "newline": (
        lambda r: edit(r, lambda t: t["raw"].update({"2": "bus/a\nb.jpg"})),
        "lacks a\\nb.jpg",
    ),
}


def check(root, capsys, *options):
    code = main(["data", "check", str(root), *options])
    said = capsys.readouterr()
    assert said.err == ""
    *lines, summary = said.out.splitlines()
    assert f"{sum(not line.startswith(('note: ', 'fixed: ')) for line in lines)} defect" in summary
    return code, lines


def named(lines, expected):
    return [line for line in lines if expected in line]


@pytest.mark.parametrize("layout", ["davis", "contest"])
def test_a_sound_data_set_is_clean(layout, request, capsys):
    root = request.getfixturevalue(layout)
    assert main(["data", "check", str(root)]) == 0
    assert capsys.readouterr().out == f"{root}: 2 sequences, 10 frames, 10 masks: 0 defects, 0 notes\n"


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("layout", ["davis", "contest"])
def test_images(name, layout, request, capsys):
    root = request.getfixturevalue(layout)
    change, expected = IMAGES[name]
    change(root)
    code, lines = check(root, capsys)
    assert code == 2
    assert len(named(lines, expected)) == 1
    # masks of another size than their frames follow from frames of another size
    assert len(lines) == (3 if name == "frame sizes" else 1)


@pytest.mark.parametrize("name", DAVIS)
def test_davis_layout(name, davis, capsys):
    change, expected = DAVIS[name]
    change(davis)
    code, lines = check(davis, capsys)
    assert code == 2
    assert len(named(lines, expected)) == 1


@pytest.mark.parametrize("name", CONTEST)
def test_contest_layout(name, contest, capsys):
    change, expected = CONTEST[name]
    change(contest)
    code, lines = check(contest, capsys)
    assert code == 2
    assert len(named(lines, expected)) == 1


def test_what_check_passes_can_be_read(davis, contest):
    """The sources refuse what `check` names, and read what it passes."""
    for root in (davis, contest):
        assert [len(sequence) for sequence in open_source(root).sequences("test")]
    for name in ("absent", "no mask", "empty list", "a line of nonsense"):
        broken = shutil.copytree(davis, davis.parent / name)
        DAVIS[name][0](broken)
        with pytest.raises(BadInput):
            open_source(broken).sequences("train")
    for name in ("null mask", "letters", "no folder"):
        broken = shutil.copytree(contest, contest.parent / name)
        CONTEST[name][0](broken)
        with pytest.raises(BadInput):
            open_source(broken).sequences("train")


def test_a_file_outside_the_folder_is_a_defect(contest, tmp_path, capsys):
    outside = tmp_path / "elsewhere" / "bus" / "00002.jpg"
    outside.parent.mkdir(parents=True)
    outside.write_text("never read")
    edit(contest, lambda table: table["raw"].update({"0": str(outside)}))
    code, lines = check(contest, capsys)
    assert code == 2
    assert named(lines, "paths.json: raw: index 0: ")[0].endswith(
        "is outside the folder: name a file inside it"
    )
    assert not named(lines, "not an image")


def test_tables_of_other_machines_are_in_order(contest, capsys):
    """Prefixes of any depth and either slash, a clip without labels, a sparse index."""

    def change(table):
        for name, column in table.items():
            table[name] = {
                str(3 * int(i)): "C:\\data\\" + path.replace("/", "\\") for i, path in column.items()
            }
        for i in range(6, 10):
            table["annotation"][str(3 * i)] = None

    edit(contest, change)
    shutil.rmtree(contest / "Annotations/480p/swan")
    assert check(contest, capsys) == (0, [])


def test_a_pair_of_tables(contest, capsys, tmp_path):
    root = tmp_path / "pair"
    for stage in ("train", "test"):
        shutil.copytree(contest, root / stage)
    assert check(root, capsys) == (0, [])
    edit(root / "test", lambda table: table["raw"].update({"2": None}))
    code, lines = check(root, capsys)
    assert code == 2
    assert named(lines, "test/paths.json: raw: index 2 is null")


def test_what_other_systems_leave_behind_is_no_finding(davis, capsys):
    for name in (FRAME.format(2), MASK.format(2), "ImageSets/2016/train.txt"):
        path = davis / name
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\xff")
    (davis / "JPEGImages/.DS_Store").write_bytes(b"x")
    assert check(davis, capsys) == (0, [])


@pytest.mark.parametrize("name", ["frame_{}_v2", "bear.cam1.{}", "IMG 2024 {}", "{}"])
def test_frames_are_counted_by_the_number_that_changes(davis, capsys, name):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = davis / kind / "480p/bus"
        for i in range(5, -1, -1):
            (folder / f"{i:05d}.{suffix}").rename(folder / f"{name.format(i + 7)}.{suffix}")
    assert check(davis, capsys) == (0, [])
    (davis / f"JPEGImages/480p/bus/{name.format(9)}.jpg").unlink()
    (davis / f"Annotations/480p/bus/{name.format(9)}.png").unlink()
    code, lines = check(davis, capsys)
    assert code == 2
    assert len(named(lines, "frames are missing from the numbering")) == 1


def test_even_steps_and_other_beginnings_are_no_gaps(davis, capsys):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = davis / kind / "480p/bus"
        for i in range(5, -1, -1):
            (folder / f"{i:05d}.{suffix}").rename(folder / f"{7 + 5 * i:05d}.{suffix}")
    assert check(davis, capsys) == (0, [])


def test_empty_masks_are_notes(davis, capsys):
    Image.fromarray(shape() * 0).save(davis / MASK.format(2))
    code, lines = check(davis, capsys)
    assert code == 0
    assert lines == [f"note: {MASK.format(2)} is empty: no object is marked in its frame"]


@pytest.mark.parametrize("name", IMAGES)
def test_fix_keeps_the_meaning_or_keeps_out(name, davis, capsys):
    """What can be repaired reads as before and is clean then; everything else is left as it is, byte for byte."""
    IMAGES[name][0](davis)
    files = {path: path.read_bytes() for path in davis.rglob("*.*")}
    of_one_object = ("LA", "palette", "RGB", "RGBA", "one bit", "sixteen bits", "0/1", "0 and 200", "JPEG")
    repaired = name in (*of_one_object, "dim", "coloured", "in alpha")
    before = MaskReader().read(davis / MASK.format(2)).inside if repaired else None
    code, lines = check(davis, capsys, "--fix")
    assert code == (0 if repaired else 2)
    assert len(named(lines, "fixed: ")) == repaired
    changed = [path for path in davis.rglob("*.*") if files.get(path) != path.read_bytes()]
    assert changed == [davis / MASK.format(2)] * repaired
    assert len(files) == len(list(davis.rglob("*.*")))
    if repaired:
        with Image.open(davis / MASK.format(2)) as image:
            assert (image.mode, image.format) == ("L", "PNG")
            values = np.asarray(image)
        assert set(np.unique(values)) <= {0, 255}
        assert np.array_equal(values == 255, before == 1)
        assert check(davis, capsys) == (0, [])


def test_fix_of_a_link_leaves_what_it_points_to(davis, tmp_path, capsys):
    target = tmp_path / "cache.png"
    Image.fromarray(shape(value=1)).save(target)
    content = target.read_bytes()
    (davis / MASK.format(2)).unlink()
    (davis / MASK.format(2)).symlink_to(target)
    assert check(davis, capsys, "--fix")[0] == 0
    assert target.read_bytes() == content
    assert not (davis / MASK.format(2)).is_symlink()


def test_fix_that_cannot_write_is_a_defect_and_goes_on(davis, capsys, monkeypatch):
    for i in (2, 3):
        Image.fromarray(shape(value=1)).save(davis / MASK.format(i))
    replace = type(davis).replace
    monkeypatch.setattr(
        type(davis),
        "replace",
        lambda part, to: replace(part, to) if to.name == "00003.png" else os.rename(part, "/proc/nowhere/x"),
    )
    code, lines = check(davis, capsys, "--fix")
    assert code == 2
    assert len(named(lines, "00002.png cannot be rewritten")) == len(named(lines, "fixed: ")) == 1
    assert not list(davis.rglob("*part*"))


def test_no_data_set_is_bad_input(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 2
    assert "no data set at" in capsys.readouterr().err


def test_real_data_is_clean_but_for_its_fifteen_empty_masks(davis_root):
    found = survey(davis_root)
    assert found.findings == []
    assert sum(len(clip.pairs) for clip in found.clips) == 2362
    keep = ("bmx-bumps", "surf", "scooter-black")  # the rest would add seconds, and tell no more
    found.clips = [clip for clip in found.clips if clip.name.endswith(keep)]
    notes = list(contents(found))
    assert len(notes) == 15
    assert all(note.note and note.what.endswith("is empty") for note in notes)


PEAK = """
import sys
from davis_exp.cli import main
assert main(["data", "check", sys.argv[1]]) == 0
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="asks Linux for the peak")
def test_memory_does_not_grow_with_the_number_of_frames(davis):
    """Four hundred masks of half a megapixel, all kept, would take 200 MB more."""
    size = (500, 1000)
    picture(0, size).save(davis / FRAME.format(0), quality=20)
    Image.fromarray(shape(size)).save(davis / MASK.format(0))
    for i in range(1, 400):
        for name in (FRAME, MASK):
            (davis / name.format(i)).unlink(missing_ok=True)
            os.link(davis / name.format(0), davis / name.format(i))
    command = [sys.executable, "-c", PEAK, str(davis)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert "2 sequences, 404 frames, 404 masks: 0 defects" in done.stdout
    assert int(done.stdout.split()[-1]) < 150_000  # KiB
