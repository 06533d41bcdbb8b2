"""Frames as people have them: turned by the camera, of 16 bits, in files of several pictures."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from davis_exp.data.frames import image_size, read_frame
from davis_exp.data.sources.files import FileSequence
from davis_exp.utils.errors import BadInput

UPRIGHT = np.kron(
    np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8), np.ones((8, 8, 1), np.uint8)
)


def held(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("form", ["jpg", "grey.jpg", "cmyk.jpg", "trailing.jpg", "png", "webp", "tif"])
def test_pictures_are_shown_as_a_viewer_shows_them(turn, form, tmp_path):
    """Against Pillow's own `exif_transpose`, whoever decodes; 0 and 9 are no orientations."""
    path = tmp_path / f"a.{form}"
    mode = {"grey.jpg": "L", "cmyk.jpg": "CMYK"}.get(form, "RGB")
    options = {"lossless": True} if form == "webp" else {"quality": 95} if form.endswith("jpg") else {}
    Image.fromarray(UPRIGHT).convert(mode).save(path, exif=held(turn), **options)
    if form == "trailing.jpg":  # as motion photos have it: Pillow decodes
        path.write_bytes(path.read_bytes() + bytes(1000))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_frame(path), expected)
    assert image_size(path) == expected.shape[:2] == ((72, 40) if 5 <= turn <= 8 else (40, 72))
    assert read_frame(path, 1).shape[:2] == tuple(side // 2 for side in expected.shape[:2])


def test_a_large_preview_hides_no_orientation(tmp_path):
    """More about the picture than is read for its size: 40 KB of EXIF."""
    exif = held(6)
    exif[0x927C] = b"x" * 40_000
    Image.fromarray(UPRIGHT).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == read_frame(tmp_path / "a.jpg").shape[:2] == (72, 40)


def test_damaged_words_about_a_picture_turn_nothing(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.jpg", exif=held(6))
    content = (tmp_path / "a.jpg").read_bytes()
    at = content.index(b"Exif\0\0") + 6
    (tmp_path / "a.jpg").write_bytes(content[:at] + b"\xff" * 12 + content[at + 12 :])
    assert read_frame(tmp_path / "a.jpg").shape == (40, 72, 3)
    assert image_size(tmp_path / "a.jpg") == (40, 72)


def test_a_mask_fits_its_turned_frame(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / "0.jpg", exif=held(6))
    mask = np.zeros((72, 40), np.uint8)
    mask[:30] = 255
    Image.fromarray(mask).save(tmp_path / "0.png")
    Image.fromarray(mask.T.copy()).save(tmp_path / "1.png")
    files = [tmp_path / "0.jpg"] * 2
    sequence = FileSequence("a", "a", files, [tmp_path / "0.png", tmp_path / "1.png"])
    assert sequence.size == sequence.frame(0).shape[:2] == sequence.mask(0).shape
    with pytest.raises(BadInput, match=r"1\.png is 40x72 but its frame .* is 72x40"):
        sequence.mask(1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_not_saturated(suffix, tmp_path):
    grey = UPRIGHT[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(read_frame(tmp_path / f"a.{suffix}"), np.dstack([grey] * 3))
    assert np.array_equal(read_frame(tmp_path / f"a.{suffix}", 1)[..., 0], grey[::2, ::2])


def test_other_depths_have_a_scale_or_are_refused(tmp_path):
    grey = UPRIGHT[..., 0]
    for values in (grey.astype(np.int32), grey.astype(np.int32) * 257, grey.astype(np.float32) / 255):
        Image.fromarray(values).save(tmp_path / "a.tif")
        assert np.array_equal(read_frame(tmp_path / "a.tif")[..., 0], grey)
    for values in (
        grey.astype(np.int32) - 9,
        grey.astype(np.int32) * 10**6,
        grey.astype(np.float32) * np.nan,
    ):
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(
            BadInput, match=r"a\.tif cannot be read \(values from .* are neither of 8 nor of 16 bits"
        ):
            read_frame(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_an_animation_is_no_frame(suffix, tmp_path):
    pictures = [Image.fromarray(np.roll(UPRIGHT, 8 * i, axis=1)) for i in range(3)]
    pictures[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pictures[1:])
    with pytest.raises(BadInput, match="an animation of 3 pictures: give it alone"):
        read_frame(tmp_path / f"a.{suffix}")
