"""Plain folders of masks as the DAVIS challenge's tools and others write them: scored by what they mean."""

import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from davis_exp.cli import main
from davis_exp.results.artifact import Results
from davis_exp.results.scoring import score
from davis_exp.utils.errors import BadInput


def predicted(sequence, i):
    """The truth, moved: in two objects, 1 and 2."""
    mask = np.roll(sequence.mask(i), 3, axis=1)
    mask[24:] *= 2
    return mask


def palette(ids):
    image = Image.fromarray(ids)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 759)
    return image


KINDS = {
    "0/255": lambda ids: Image.fromarray((ids > 0) * np.uint8(255)),
    "0/1": lambda ids: Image.fromarray(np.minimum(ids, 1)),
    "grey ids": Image.fromarray,
    "palette": palette,
    "colours": lambda ids: palette(ids).convert("RGB"),
    "1 bit": lambda ids: Image.fromarray(ids > 0),
    "grey in three channels": lambda ids: Image.fromarray((ids > 0) * np.uint8(255)).convert("RGB"),
    "grey with alpha": lambda ids: Image.fromarray((ids > 0) * np.uint8(255)).convert("LA"),
    "alpha": lambda ids: Image.merge(
        "LA", (Image.new("L", ids.shape[::-1]), Image.fromarray((ids > 0) * np.uint8(255)))
    ),
    "16 bits": lambda ids: Image.fromarray((ids > 0) * np.uint16(65535)),
    "16 bits, 0/255": lambda ids: Image.fromarray((ids > 0) * np.uint16(255)),
    "16 bits, 0/1": lambda ids: Image.fromarray(np.minimum(ids, 1).astype(np.uint16)),
    "16 bits, ids": lambda ids: Image.fromarray(ids.astype(np.uint16)),
}


@pytest.fixture
def plain(tmp_path, sequences):
    def make(draw, name="plain"):
        for sequence in sequences:
            for i, frame in enumerate(sequence.frame_ids):
                path = tmp_path / name / f"{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                draw(predicted(sequence, i)).save(path)
        return tmp_path / name

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_scores_alike(kind, plain, sequences, truth, tmp_path, capsys):
    expected = score(Results.open(plain(KINDS["0/255"], "expected")), sequences)
    assert 0.3 < expected["davis2016"]["J&F"] < 0.95
    folder = plain(KINDS[kind])
    assert score(Results.open(folder), sequences, workers=3) == expected
    assert main(["check", str(folder), "--data", str(truth)]) == 0
    for hidden in (".DS_Store", "swan/._00000.png", "__MACOSX/swan/00000.png"):
        (folder / hidden).parent.mkdir(parents=True, exist_ok=True)
        (folder / hidden).write_bytes(b"\0\5\x16\7")
    assert score(Results.open(folder), sequences) == expected
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(
                path,
                f"masks/{path.relative_to(folder)}" if "MACOSX" not in str(path) else f"__MACOSX/{path.name}",
            )
    assert score(Results.open(tmp_path / "plain.zip"), sequences) == expected
    capsys.readouterr()


def test_soft_masks_are_rounded_even_where_one_of_them_shows_nothing(plain, sequences):
    """A frame with no confidence above 3 of 255 is empty in soft results, and holds objects in masks of numbers."""
    folder = plain(lambda ids: Image.fromarray((ids > 0) * np.uint8(200) + np.uint8(20)))
    faint = folder / "swan/00001.png"
    Image.fromarray(predicted(sequences[0], 1)).save(faint)
    scored = score(Results.open(folder), sequences)
    assert scored["sequences"]["swan"]["raw"]["J"][1] == 0.0
    assert scored["sequences"]["swan"]["raw"]["J"][2] > 0.3
    deep = plain(lambda ids: Image.fromarray((ids > 0) * np.uint16(257 * 200) + np.uint16(5140)), "deep")
    Image.fromarray(predicted(sequences[0], 1).astype(np.uint16)).save(deep / "swan/00001.png")
    assert score(Results.open(deep), sequences) == scored


def test_numbers_of_objects_are_said_to_be_taken_for_that(plain, sequences, caplog):
    score(Results.open(plain(KINDS["grey ids"])), sequences)
    assert "no mask holds more than 2: taken for numbers of objects" in caplog.text


def test_what_is_no_mask_is_refused_by_name(plain, sequences, tmp_path):
    folder = plain(KINDS["0/255"])
    noise = np.random.default_rng(0).integers(0, 256, (48, 70, 3), np.uint8)
    Image.fromarray(noise).save(folder / "swan/00002.png")
    with pytest.raises(BadInput, match=r"swan/00002\.png is a picture of [\d,]+ colours and no mask"):
        score(Results.open(folder), sequences)
    Image.fromarray(noise).save(folder / "swan/00002.png", format="jpeg")
    with pytest.raises(BadInput, match=r"swan/00002\.png is not a PNG file"):
        score(Results.open(folder), sequences)
    shutil.rmtree(folder)
    (folder / "swan").mkdir(parents=True)
    Image.fromarray(noise).save(folder / "swan/00000.jpg")
    with pytest.raises(
        BadInput, match=r"the masks are JPEGs \(swan/00000\.jpg, 1 in all\).*: save them as PNG"
    ):
        Results.open(folder)


def test_a_submission_stays_8_bit_grey(results, sequences, truth, capsys):
    """Where the contest's judge reads the files, other kinds would count as something else."""
    name = results / "outputs/00003.png"
    palette(np.minimum(np.asarray(Image.open(name)), 1)).save(name)
    assert main(["check", str(results), "--data", str(truth)]) == 2
    assert "outputs/00003.png is a palette mask (mode P)" in capsys.readouterr().out
