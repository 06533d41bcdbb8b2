"""What a mask file marks: each kind that labs and tools write, by value, the same for every reader."""

import shutil

import numpy as np
import pytest
from PIL import Image

from davis_exp.cli import main
from davis_exp.data.check import contents, survey
from davis_exp.data.datamodule import ClipDataModule
from davis_exp.data.loading import Loading
from davis_exp.data.masks import Mask, MaskReader
from davis_exp.data.sequences import VideoSequence
from davis_exp.data.shades import voc_colour
from davis_exp.data.sources import DavisSource, open_source
from davis_exp.metrics.bits import Bits
from davis_exp.metrics.boundary import contour_f
from davis_exp.results.artifact import Results
from davis_exp.results.scoring import score
from davis_exp.utils.errors import BadInput

SIZE = (40, 60)


def objects(shift: int = 0) -> np.ndarray:
    """Two objects side by side, 1 and 2."""
    ids = np.zeros(SIZE, np.uint8)
    ids[10:30, 8 + shift : 24 + shift] = 1
    ids[14:26, 24 + shift : 36 + shift] = 2
    return ids


def void_border(ids: np.ndarray) -> np.ndarray:
    """The same with a strip of void at its left."""
    ids = ids.copy()
    ids[10:30, 4:8] = 255
    return ids


def palette(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids)
    image.putpalette([channel for number in range(256) for channel in voc_colour(number).to_bytes(3, "big")])
    return image


def coloured(ids: np.ndarray) -> np.ndarray:
    return np.asarray(palette(ids).convert("RGB"))


def photograph(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (*SIZE, 3), np.uint8)


def with_alpha(colours: np.ndarray, ids: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colours, np.where(ids > 0, 255, 0).astype(np.uint8)]))


def swapped(ids: np.ndarray) -> Image.Image:
    """A palette whose 0 is white and whose 1 is black, as optimisers write it."""
    image = Image.fromarray(np.where(ids > 0, 0, 1).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    return image


KINDS = {
    "0/255": lambda ids: Image.fromarray(np.where(ids > 0, 255, 0).astype(np.uint8)),
    "0/1": lambda ids: Image.fromarray(np.minimum(ids, 1)),
    "one dim value": lambda ids: Image.fromarray(np.where(ids > 0, 38, 0).astype(np.uint8)),
    "grey ids": Image.fromarray,
    "grey levels": lambda ids: Image.fromarray(ids * np.uint8(85)),
    "grey levels and white": lambda ids: Image.fromarray(np.array([0, 90, 255], np.uint8)[ids]),
    "palette": palette,
    "palette saved as grey": lambda ids: palette(ids).convert("L"),
    "grey palette": lambda ids: Image.fromarray(np.where(ids > 0, 255, 0).astype(np.uint8)).convert("P"),
    "palette with white first": swapped,
    "palette saved in colour": lambda ids: Image.fromarray(coloured(ids)),
    "red": lambda ids: Image.fromarray(
        np.where(ids > 0, 255, 0)[..., None].astype(np.uint8) * np.uint8([1, 0, 0])
    ),
    "grey in three channels": lambda ids: Image.fromarray(ids).convert("RGB"),
    "alpha alone": lambda ids: with_alpha(np.full((*SIZE, 3), 255, np.uint8), ids),
    "alpha of grey": lambda ids: with_alpha(np.zeros((*SIZE, 3), np.uint8), ids).convert("LA"),
    "a cut-out": lambda ids: with_alpha(photograph(), ids),
    "colours with their alpha": lambda ids: with_alpha(coloured(ids), ids),
    "opaque": lambda ids: Image.fromarray(coloured(ids)).convert("RGBA"),
    "1 bit": lambda ids: Image.fromarray(ids > 0),
    "16 bits": lambda ids: Image.fromarray(np.where(ids > 0, 65535, 0).astype(np.uint16)),
    "16 bits, 0/1": lambda ids: Image.fromarray(np.minimum(ids, 1).astype(np.uint16)),
    "16 bits, ids": lambda ids: Image.fromarray(ids.astype(np.uint16)),
    "16 bits, numbers of a kind": lambda ids: Image.fromarray(ids.astype(np.uint16) * np.uint16(1001)),
}
WITH_VOID = ("grey ids", "palette", "palette saved in colour", "16 bits, ids")


def read(image: Image.Image, tmp_path, suffix="png", reader=None, **options) -> Mask:
    image.save(tmp_path / f"mask.{suffix}", **options)
    return (reader or MaskReader()).read(tmp_path / f"mask.{suffix}")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_marks_the_object_and_an_empty_one_nothing(kind, tmp_path):
    assert np.array_equal(read(KINDS[kind](objects()), tmp_path).inside, objects() > 0)
    assert read(KINDS[kind](objects()), tmp_path).void is None
    assert not read(KINDS[kind](objects() * np.uint8(0)), tmp_path).inside.any()


@pytest.mark.parametrize("kind", WITH_VOID)
def test_void_is_no_object_but_can_be_one(kind, tmp_path):
    mask = read(KINDS[kind](void_border(objects())), tmp_path)
    assert np.array_equal(mask.inside, objects() > 0)
    assert np.array_equal(mask.void, void_border(objects()) == 255)
    mask = read(KINDS[kind](void_border(objects())), tmp_path, reader=MaskReader("ids", void=None))
    assert np.array_equal(mask.inside, void_border(objects()) > 0)
    assert mask.void is None


def test_void_of_another_number(tmp_path):
    mask = read(palette(objects()), tmp_path, reader=MaskReader(void=2))
    assert np.array_equal(mask.inside, objects() == 1)
    assert np.array_equal(mask.void, objects() == 2)


@pytest.mark.parametrize(
    "kind", ["grey ids", "grey levels", "palette", "palette saved in colour", "16 bits, ids"]
)
def test_objects_are_told_apart_where_the_file_does(kind, tmp_path):
    ids = read(KINDS[kind](objects()), tmp_path).ids
    assert sorted(len(np.unique(ids[objects() == number])) for number in range(3)) == [1, 1, 1]
    assert len(np.unique(ids)) == 3


def soft(object_: int = 255) -> np.ndarray:
    """An object with an edge of shades, as anti-aliasing leaves it."""
    grey = np.zeros(SIZE, np.uint8)
    for edge, share in enumerate((0.25, 0.5, 0.75, 1)):
        grey[10 + edge : 30 - edge, 10 + edge : 50 - edge] = round(object_ * share)
    return grey


@pytest.mark.parametrize("masks", ["auto", "binary"])
def test_shades_are_rounded_and_an_edge_is_no_object(masks, tmp_path):
    assert np.array_equal(
        read(Image.fromarray(soft()), tmp_path, reader=MaskReader(masks)).inside, soft() >= 128
    )
    ramp = np.tile(np.arange(SIZE[1], dtype=np.uint8) * 4, (SIZE[0], 1))
    assert np.array_equal(read(Image.fromarray(ramp), tmp_path, reader=MaskReader(masks)).inside, ramp >= 128)
    red = np.dstack([soft(), soft() * 0, soft() * 0])
    assert np.array_equal(
        read(Image.fromarray(red), tmp_path, reader=MaskReader(masks)).inside, soft() >= 128
    )


def test_a_jpeg_has_noise_and_no_numbers(tmp_path):
    truth = objects() > 0
    mask = read(KINDS["0/255"](objects()), tmp_path, "jpg", quality=60)
    assert np.array_equal(mask.inside, truth)
    with pytest.raises(BadInput, match=r"mask\.jpg holds shades up to \d+ but nothing over half.*--masks"):
        read(Image.fromarray(objects()), tmp_path, "jpg", quality=95)
    with pytest.raises(BadInput, match="no numbers of objects: save a PNG"):
        read(KINDS["0/255"](objects()), tmp_path, "jpg", reader=MaskReader("ids"))
    noisy = np.asarray(Image.open(tmp_path / "mask.jpg"))
    assert np.array_equal(read(Image.fromarray(noisy), tmp_path).inside, truth), "saved again as PNG"


REFUSED = {
    "two masks": (with_alpha(coloured(objects()), objects(6)), "another in its alpha channel"),
    "a photograph": (Image.fromarray(photograph()), "colours and no mask of a few"),
    "dark shades": (Image.fromarray(np.tile(np.arange(60, dtype=np.uint8), (40, 1))), "nothing over half"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused_with_the_way_out(name, tmp_path):
    image, expected = REFUSED[name]
    with pytest.raises(BadInput, match=expected) as caught:
        read(image, tmp_path)
    assert "mask.png" in str(caught.value)
    assert "set data.masks (or --masks) to" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_palette_without_black_is_refused(tmp_path):
    image = Image.fromarray(objects())
    image.putpalette([60, 60, 60, 128, 0, 0, 0, 128, 0])
    with pytest.raises(BadInput, match="a palette mask without black"):
        read(image, tmp_path)
    assert np.array_equal(read(image, tmp_path, reader=MaskReader("ids")).inside, objects() > 0)


def test_what_is_asked_for_is_done(tmp_path):
    both = with_alpha(coloured(objects()), objects(6))
    assert np.array_equal(read(both, tmp_path, reader=MaskReader("alpha")).inside, objects(6) > 0)
    assert np.array_equal(read(both, tmp_path, reader=MaskReader("ids")).inside, objects() > 0)
    assert np.array_equal(read(both, tmp_path, reader=MaskReader("binary")).inside, objects() > 0)
    assert np.array_equal(
        read(Image.fromarray(soft()), tmp_path, reader=MaskReader("ids", None)).inside, soft() > 0
    )
    with pytest.raises(BadInput, match="has no alpha channel"):
        read(palette(objects()), tmp_path, reader=MaskReader("alpha"))


@pytest.mark.parametrize(
    ("wrong", "message"), [({"masks": "guess"}, "masks must be one of"), ({"void": 0}, "void must")]
)
def test_settings_that_cannot_be_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        MaskReader(**wrong)


def test_a_mask_is_turned_as_it_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = read(KINDS["0/255"](objects()), tmp_path, exif=exif)
    assert np.array_equal(mask.inside, np.rot90(objects() > 0, -1))


# ---- every reader alike --------------------------------------------------------------------------------


@pytest.fixture
def data_set(tmp_path):
    """Makes a data set in DAVIS layout whose masks are of a kind: three clips to train on, one to test."""

    def make(draw, name="davis"):
        root = tmp_path / name
        for clip in range(4):
            for i in range(3):
                frame = root / f"JPEGImages/480p/clip{clip}/{i:05d}.jpg"
                mask = root / f"Annotations/480p/clip{clip}/{i:05d}.png"
                frame.parent.mkdir(parents=True, exist_ok=True)
                mask.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(photograph(10 * clip + i)).save(frame)
                draw(objects(2 * i + clip)).save(mask)
        (root / "ImageSets/480p").mkdir(parents=True)
        (root / "ImageSets/480p/train.txt").write_text("clip0\nclip1\nclip2\n")
        (root / "ImageSets/480p/val.txt").write_text("clip3\n")
        return root

    return make


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "0/255"])
def test_every_reader_reads_alike(kind, data_set, tmp_path, capsys):
    """Training's sequences, `score`, `data check` and `data export` of one kind, against 0/255 of the same objects."""
    plain, odd = data_set(KINDS["0/255"], "plain"), data_set(KINDS[kind], "odd")
    for stage in ("train", "test"):
        for one, other in zip(
            open_source(plain).sequences(stage), open_source(odd).sequences(stage), strict=True
        ):
            for i in range(len(one)):
                assert np.array_equal(one.mask(i), other.mask(i))
    results = tmp_path / "results"
    shutil.copytree(plain / "Annotations/480p/clip3", results / "clip3")
    scored = score(Results.open(results), open_source(odd).sequences("test"))
    assert scored["davis2016"]["J&F"] == 1.0
    assert scored["baselines"]["everything"] == pytest.approx((objects() > 0).mean())
    found = list(contents(survey(odd)))
    assert not any(finding.note or "as they are read" in finding.what for finding in found)
    assert main(["data", "export", str(odd), str(tmp_path / "out"), "--to", "davis"]) == 0
    for mask in (tmp_path / "out/Annotations").rglob("*.png"):
        assert np.array_equal(
            np.asarray(Image.open(mask)) == 255, objects(2 * int(mask.stem) + int(mask.parent.name[4:])) > 0
        )
    capsys.readouterr()


def test_void_is_left_out_of_the_score_as_davis_2017_does(data_set, tmp_path):
    """Against the official formulas: both masks without what is void."""
    root = data_set(lambda ids: palette(void_border(ids)))
    results = tmp_path / "results/clip3"
    results.mkdir(parents=True)
    predicted = [np.roll(void_border(objects(2 * i + 3)) > 0, 1, axis=1) for i in range(3)]
    for i, mask in enumerate(predicted):
        Image.fromarray(mask).save(results / f"{i:05d}.png")
    scored = score(Results.open(tmp_path / "results"), open_source(root).sequences("test"))
    raw = scored["sequences"]["clip3"]["raw"]
    for i, mask in enumerate(predicted):
        ids = void_border(objects(2 * i + 3))
        truth, void = (ids > 0) & (ids != 255), ids == 255
        union = ((mask | truth) & ~void).sum()
        assert raw["J"][i] == pytest.approx((mask & truth & ~void).sum() / union)
        own, true = (Bits.of(m & ~void) for m in (mask, truth))
        assert raw["F"][i] == pytest.approx(contour_f(own, true))
    everything = [
        (truth.sum() / (~void).sum()) for truth, void in [(objects(3) > 0, void_border(objects(3)) == 255)]
    ]
    assert scored["baselines"]["everything"] == pytest.approx(everything[0])


def data(source) -> ClipDataModule:
    return ClipDataModule(source, None, Loading(size=(32, 32), holdout=1))


@pytest.mark.parametrize(("value", "word"), [(0, "empty"), (255, "full")])
def test_a_data_set_that_marks_nothing_is_not_trained_on(value, word, data_set, capsys, caplog):
    root = data_set(lambda ids: Image.fromarray(np.full_like(ids, value)))
    with pytest.raises(BadInput, match=rf"9 masks are all {word} as they are read.*data\.masks"):
        data(DavisSource(root)).setup("fit")
    assert main(["data", "check", str(root)]) == 2
    marked = "nothing" if value == 0 else "everything"
    assert f"all 12 masks mark {marked}, as they are read" in capsys.readouterr().out
    Image.fromarray(np.eye(*SIZE, dtype=np.uint8)).save(root / "Annotations/480p/clip2/00002.png")
    data(DavisSource(root)).setup("fit")
    data(DavisSource(root)).setup("test")
    assert f"the test data's 3 masks are all {word}" in caplog.text


def test_settings_reach_every_reader(data_set, tmp_path, capsys, compose):
    """data.masks and data.void of a config, --masks and --void of commands."""
    from davis_exp.experiment import build

    root = data_set(lambda ids: with_alpha(coloured(ids), np.roll(ids, 5, axis=1)))
    moved = np.roll(objects(3), 5, axis=1) > 0
    cfg = compose("data=davis", f"data.root={root}", "data.masks=alpha", "data.holdout=1")
    module = build.build_data(cfg)
    module.setup("test")
    assert np.array_equal(module.test_sequences[0].mask(0), moved)
    with pytest.raises(BadInput, match=r"data\.masks must be one of auto"):
        build.build_data(compose("data=davis", f"data.root={root}", "data.masks=guess"))
    with pytest.raises(BadInput, match=r"data\.mask_values must be one of auto"):
        build.build_data(compose("data=images", f"data.root={root}", "data.mask_values=guess"))
    results = tmp_path / "results/clip3"
    results.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(np.roll(objects(2 * i + 3), 5, axis=1) > 0).save(results / f"{i:05d}.png")
    assert main(["score", str(results.parent), str(root)]) == 2
    assert "another in its alpha channel" in capsys.readouterr().err
    assert main(["score", str(results.parent), str(root), "--masks", "alpha"]) == 0
    assert "J mean 100.00" in capsys.readouterr().out
    assert (
        main(["data", "export", str(root), str(tmp_path / "out"), "--to", "davis", "--masks", "alpha"]) == 0
    )
    exported = np.asarray(Image.open(tmp_path / "out/Annotations/480p/clip3/00000.png"))
    assert np.array_equal(exported == 255, moved)
    assert main(["data", "check", str(root), "--masks", "alpha", "--void", "none"]) == 2
    assert "has its object in the alpha channel" in capsys.readouterr().out
    assert main(["data", "check", str(root), "--void", "²"]) == 2


def test_what_is_kept_is_not_taken_for_what_another_setting_reads(data_set):
    from davis_exp.data.cache import mask_identity

    root = data_set(palette)
    one, other = (DavisSource(root, void=void).sequences("train")[0] for void in (255, 2))
    assert mask_identity(one, 0) != mask_identity(other, 0)


def test_masks_that_are_no_files_have_no_void():
    class Made(VideoSequence):
        name, index, frame_ids, labelled, key, size = "a", (0,), ("a/0",), True, "a", (2, 2)

        def frame(self, i):
            return np.zeros((2, 2, 3), np.uint8)

        def mask(self, i):
            return np.eye(2, dtype=np.uint8)

    made = Made().annotation(0)
    assert made.void is None
    assert np.array_equal(made.inside, np.eye(2))
    assert made.judged(np.ones((2, 2), bool)).all()
