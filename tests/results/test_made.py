"""Results from masks of any framework: matched, checked, and scored as the folder itself."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from davis_exp.cli import main
from davis_exp.results.artifact import Results


@pytest.fixture
def masks(tmp_path, sequences):
    """masks(draw, flat=False) → a folder of the truth, moved; `draw(mask in {0, 1}) -> Image`."""

    def make(draw=lambda mask: Image.fromarray(mask * np.uint8(255)), flat=False):
        for sequence in sequences:
            for i, (index, frame) in enumerate(zip(sequence.index, sequence.frame_ids, strict=True)):
                path = tmp_path / "masks" / (f"out_{index:04d}.png" if flat else f"{frame}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                draw(np.roll(sequence.mask(i), 3, axis=1)).save(path)
        return tmp_path / "masks"

    return make


@pytest.fixture
def make(tmp_path, truth):
    """make(folder, *options) → exit code; the results lie in tmp_path / "out"."""

    def made(folder, *options):
        common = ["--data", str(truth), "--nparams", "3_400_000", "-o", str(tmp_path / "out")]
        return main(["results", "make", str(folder), *common, *options])

    return made


def shades(mask):
    return Image.fromarray((mask * 155 + np.linspace(0, 100, mask.size).reshape(mask.shape)).astype(np.uint8))


def palette(mask):
    image = Image.fromarray(mask * np.uint8(7))
    image.putpalette([0, 0, 0] + [9, 200, 50] * 255)
    return image


DRAWN = {
    "0/255": lambda mask: Image.fromarray(mask * np.uint8(255)),
    "0/1": Image.fromarray,
    "palette": palette,
    "1 bit": lambda mask: Image.fromarray(mask > 0),
    "16 bits": lambda mask: Image.fromarray(mask * np.uint16(65535)),
    "colours": lambda mask: palette(mask).convert("RGB"),
}


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("flat", [False, True])
def test_masks_of_every_kind_become_the_moved_truth(make, masks, sequences, tmp_path, kind, flat):
    assert make(masks(DRAWN[kind], flat)) == 0
    results = Results.open(tmp_path / "out")
    assert results.frames == [frame for sequence in sequences for frame in sequence.frame_ids]
    for sequence in sequences:
        for i, index in enumerate(sequence.index):
            assert np.array_equal(results.confidence(index), np.roll(sequence.mask(i), 3, axis=1) * 255)


def test_soft_masks_stay_soft(make, masks, tmp_path, sequences):
    assert make(masks(shades)) == 0
    expected = np.asarray(shades(np.roll(sequences[0].mask(2), 3, axis=1)))
    assert np.array_equal(Results.open(tmp_path / "out").confidence(2), expected)


def test_results_score_as_the_folder_does_and_pass_wherever_results_do(make, masks, truth, tmp_path, capsys):
    folder, out = masks(), tmp_path / "out"
    assert make(folder, "--nflops", "1000", "--name", "mine") == 0
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["provenance"] == "made from masks"
    assert (metadata["model"], metadata["nparams"], metadata["nflops"]) == ("mine", 3_400_000, 1000)
    for given, name in ((folder, "a"), (out, "b")):
        assert main(["score", str(given), str(truth), "--json", str(tmp_path / f"{name}.json")]) == 0
    a, b = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert a["contest"] == b["contest"]
    assert 0.3 < a["contest"]["mean_iou"] < 1
    assert main(["check", str(out), "--data", str(truth)]) == 0
    assert main(["submit", str(out), "--data", str(truth), "--dry-run"]) == 0
    assert main(["leaderboard", str(out), "--private", str(truth)]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["report", str(out), "--truth", str(truth), "-o", str(tmp_path / "page.html")]) == 0


def test_a_zip_is_taken_too(make, masks, tmp_path):
    folder = masks()
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, path.relative_to(folder))
    assert make(tmp_path / "masks.zip") == 0


def test_every_missing_and_extra_frame_is_a_line_and_nothing_is_written(make, masks, tmp_path, capsys):
    folder = masks()
    (folder / "swan/00001.png").unlink()
    (folder / "bus/00003.png").rename(folder / "bus/00009.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "swan/00000.png")
    (folder / "swan/00002.png").write_bytes(b"no picture")
    (folder / "cat").mkdir()
    (folder / "bus/00000.png").rename(folder / "cat/00000.png")
    assert make(folder) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:5]] == [
        "swan/00001 (index 1) is missing",
        "bus/00000 (index 5) is missing",
        "bus/00003 (index 8) is missing",
        "bus/00009.png is extra",
        "cat/00000.png is extra",
    ]
    assert "swan/00000.png is 4x4 pixels where the frame has 70x48" in lines[5]
    assert "swan/00002.png is not a PNG" in lines[6]
    assert "7 defects, nothing written" in lines[7]
    assert not (tmp_path / "out").exists()


def test_numbers_that_do_not_begin_at_0_are_refused_and_not_shifted(make, masks, tmp_path, capsys):
    folder = masks(flat=True)
    for path in sorted(folder.iterdir(), reverse=True):
        path.rename(folder / f"{int(path.stem[-4:]) + 1:05d}.png")
    assert make(folder) == 2
    out = capsys.readouterr().out
    assert "swan/00000 (index 0) is missing" in out
    assert "00009.png is extra" in out


def test_a_single_sequence_is_matched_by_its_frames_names(make, masks, truth, tmp_path):
    lists = truth / "ImageSets/480p/val.txt"
    whole = lists.read_text()
    folder = masks() / "bus"
    try:
        lists.write_text("".join(line for line in whole.splitlines(True) if "/bus/" in line))
        assert make(folder) == 0
        assert Results.open(tmp_path / "out").frames == [f"bus/{i:05d}" for i in range(4)]
    finally:
        lists.write_text(whole)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda mask: Image.fromarray(mask * np.uint8(75)), "no confidence is over 75"),
        (lambda mask: Image.fromarray(np.cumsum(mask, 1, np.uint8).clip(0, 2) * np.uint8(80)), "80, 160"),
    ],
)
def test_greys_that_may_be_ids_are_refused_until_it_is_said_what_they_are(
    make, masks, tmp_path, capsys, draw, said
):
    folder = masks(draw)
    assert make(folder) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert make(folder, "--masks", "ids") == 0
    assert set(np.unique(Results.open(tmp_path / "out").confidence(0))) == {0, 255}
    assert make(folder, "--masks", "soft", "--overwrite") == 0
    assert 255 not in Results.open(tmp_path / "out").confidence(0)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--nparams", "0"], 2, "at least 1"),
        (["--nparams", "x"], 2, "'x'"),
        (["--nparams", "60000000"], 3, "over budget by 10,000,000"),
    ],
)
def test_a_count_that_cannot_be_is_refused(make, masks, capsys, options, code, said):
    assert make(masks(), *options) == code
    assert said in capsys.readouterr().err


def test_what_is_there_is_kept_and_what_holds_no_masks_is_refused(make, masks, results, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert make(masks()) == 2
    assert "--overwrite" in capsys.readouterr().err
    for folder, said in ((results, "holds results already"), (tmp_path / "out", "holds no masks")):
        assert make(folder, "--overwrite") == 2
        assert said in capsys.readouterr().err


def test_jpegs_and_names_that_say_no_index_are_refused(make, masks, tmp_path, capsys):
    folder = masks(flat=True)
    (folder / "out_0003.png").rename(folder / "third.png")
    (folder / "out_0004.png").rename(folder / "b_0002.png")
    assert make(folder) == 2
    out = capsys.readouterr().out
    assert "third.png ends in no number" in out
    assert "both number 2" in out
    for path in folder.iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert make(folder) == 2
    assert "JPEGs" in capsys.readouterr().out


def test_many_damaged_masks_take_no_longer_than_whole_ones(make, masks, tmp_path, capsys, monkeypatch):
    """A file that cannot be read is read a few times, and not once for each other one."""
    folder = masks(lambda mask: Image.fromarray(mask * 0))
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    reads = []
    stored = Results._bytes
    monkeypatch.setattr(
        Results, "_bytes", lambda self, *how, **more: reads.append(how) or stored(self, *how, **more)
    )
    assert make(folder) == 2
    assert capsys.readouterr().out.count("\n") == 10
    assert len(reads) <= 5 * 9
