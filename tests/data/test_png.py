import contextlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from davis_exp.data import png
from davis_exp.data.png_bits import AVERAGE, NONE, PAETH, SUB, UP, from_bits
from davis_exp.data.shades import foreground
from davis_exp.utils.errors import BadInput


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def file_of(image, raw, extra=b""):
    """A grey PNG file announcing the image's size, whose pixels are `raw`, deflated."""
    size = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 0, 0, 0, 0)
    return png.SIGNATURE + chunk(b"IHDR", size) + extra + chunk(b"IDAT", raw) + chunk(b"IEND", b"")


def filtered(image, filters):
    """The rows of an image, each with its own filter, by the format's definition."""
    values = image.astype(int)
    left, up, corner = np.zeros((3, *values.shape), int)
    left[:, 1:], up[1:], corner[1:, 1:] = values[:, :-1], values[:-1], values[:-1, :-1]
    estimate = left + up - corner
    distances = np.abs(np.stack([left, up, corner]) - estimate)
    paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
    predicted = np.stack([np.zeros_like(values), left, up, (left + up) // 2, paeth])
    rows = (values - predicted[filters, np.arange(len(values))]).astype(np.uint8)
    return b"".join(bytes([kind]) + row.tobytes() for kind, row in zip(filters, rows, strict=True))


def encoded(image, filters):
    return file_of(image, zlib.compress(filtered(image, np.broadcast_to(filters, len(image)))))


def blobs(rng, size, values):
    """Ellipses, one over the other."""
    image = np.zeros(size, np.uint8)
    for value in rng.choice(values, 3):
        middle, axes = rng.integers(0, size[::-1]), rng.integers(1, size[1] // 2, 2)
        cv2.ellipse(image, (middle.tolist(), axes.tolist(), 30), int(value), -1)
    return image


@pytest.fixture
def without_opencv(monkeypatch):
    def missing(*_):
        raise AssertionError("not decoded from differences")

    return lambda: monkeypatch.setattr(cv2, "imdecode", missing)


@pytest.mark.parametrize("width", [97, 160, 200, 641])
def test_images_of_0_and_255_of_any_mix_of_filters(width, without_opencv):
    without_opencv()
    rng = np.random.default_rng(width)
    for _ in range(20):
        image = blobs(rng, (200, width), [0, 255])
        image[-2:], image[-1, -1] = 0, 255
        filters = rng.choice([NONE, SUB, UP, PAETH], 20).repeat(10)
        blank = ~image.any(axis=1)
        filters[1:][blank[1:] & blank[:-1]] = AVERAGE
        filters[-1] = AVERAGE  # in all other places it would average 0 and 255
        data = encoded(image, filters)
        assert np.array_equal(png.decode(data, "x.png"), image)
        inside = png.decode(data, "x.png", foreground)
        assert inside.dtype == bool
        assert np.array_equal(inside, image == 255)
        assert np.array_equal(png.decode(data, "x.png", lambda values: 255 - values), 255 - image)


def test_paeth_between_dense_edges():
    """Rows of noise: each edge above begins the parity anew."""
    image = (np.random.default_rng(0).random((50, 67)) < 0.5).astype(np.uint8) * 255
    rows = np.frombuffer(filtered(image, np.full(50, PAETH)), np.uint8).reshape(50, 68)
    assert np.array_equal(from_bits(rows, np.asarray), image)


def test_rows_of_differences_to_the_left_hold_any_values(without_opencv):
    without_opencv()
    rng = np.random.default_rng(0)
    for width in range(300, 309):  # sizes of every remainder by eight
        image = blobs(rng, (81, width), range(256))
        assert np.array_equal(png.decode(encoded(image, SUB), "x.png"), image)
        assert np.array_equal(png.decode(encoded(image, SUB), "x.png", foreground), image >= 128)


@pytest.mark.parametrize("values", [(0, 1), (0, 1, 2), (0, 254, 255), (0, 1, 255), (0, 128), (5, 4)])
@pytest.mark.parametrize("seed", range(5))
def test_what_only_resembles_images_of_0_and_255_is_told_apart(values, seed):
    """Here too, or nearly, all differences are 1 and -1."""
    rng = np.random.default_rng(seed)
    image = blobs(rng, (90, 130), values)
    for filters in (
        UP,
        PAETH,
        rng.choice([NONE, SUB, UP, PAETH], 90),
    ):
        assert np.array_equal(png.decode(encoded(image, filters), "x.png"), image)


@pytest.mark.parametrize("kind", [NONE, SUB, UP, AVERAGE, PAETH])
def test_any_image_of_any_filter(kind):
    rng = np.random.default_rng(0)
    hard = np.zeros((50, 131), np.uint8)
    hard[10:30, 20:90] = 255
    soft = cv2.GaussianBlur(hard, (0, 0), 3)
    noise = rng.integers(0, 256, (40, 40), dtype=np.uint8)
    for image in (hard, soft, noise, np.zeros((1, 1), np.uint8), np.full((7, 3), 255, np.uint8)):
        assert np.array_equal(png.decode(encoded(image, kind), "x.png"), image)
        assert np.array_equal(png.decode(png.encode(image), "x.png"), image)
        assert np.array_equal(png.decode(png.encode(image), "x.png", foreground), foreground(image))


def test_real_masks_are_decoded_as_opencv_does_and_without_it(davis_root, without_opencv):
    files = sorted((davis_root / "Annotations").glob("*/*/*.png"))[::60]
    expected = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    without_opencv()
    for file, image in zip(files, expected, strict=True):
        assert np.array_equal(png.decode(file.read_bytes(), file.name), image)
        assert np.array_equal(png.decode(file.read_bytes(), file.name, foreground), image >= 128)


def test_transparency_and_order_of_rows_change_nothing(tmp_path):
    image = blobs(np.random.default_rng(0), (90, 130), [0, 255])
    for picture in (image, cv2.GaussianBlur(image, (0, 0), 3)):
        Image.fromarray(picture).save(tmp_path / "x.png", transparency=255)
        data = (tmp_path / "x.png").read_bytes()
        assert b"tRNS" in data
        assert np.array_equal(png.decode(data, "x.png"), picture)
    interlaced = bytearray(encoded(image, SUB))
    interlaced[28] = 1
    interlaced[29:33] = struct.pack(">I", zlib.crc32(interlaced[12:29]))
    with contextlib.suppress(BadInput):  # its rows are those of another order, if they are any
        assert not np.array_equal(png.decode(bytes(interlaced), "x.png"), image)


@pytest.mark.parametrize("filters", [SUB, UP])
def test_damage_is_not_overlooked(filters):
    image = blobs(np.random.default_rng(0), (90, 130), [0, 255])
    whole = encoded(image, filters)
    for data in (b"", whole[:-20], whole[: len(whole) // 2]):
        with pytest.raises(BadInput, match=r"^x\.png "):
            png.decode(data, "x.png")
    for position in range(0, len(whole) - 12, 7):
        broken = bytearray(whole)
        broken[position] ^= 0x55
        with pytest.raises(BadInput, match=r"^x\.png "):
            png.decode(bytes(broken), "x.png")
    raw = filtered(image, np.full(90, filters))
    with pytest.raises(BadInput, match="damaged or cut short"):
        png.decode(file_of(image, zlib.compress(b"\5" + raw[1:])), "x.png")
    with pytest.raises(BadInput, match="damaged or cut short"):
        png.decode(file_of(image, zlib.compress(raw[:-131])), "x.png")
    with pytest.raises(BadInput, match="damaged or cut short"):
        png.decode(file_of(image, zlib.compress(raw)[:-30]), "x.png")


@pytest.mark.parametrize("size", [(1, 1), (7, 1), (1, 9), (48, 85)])
def test_what_is_written_is_what_others_read(size):
    image = np.random.default_rng(0).integers(0, 256, (size[0], 2 * size[1]), np.uint8)[:, ::2]
    data = png.encode(image)
    with Image.open(io.BytesIO(data)) as read:
        assert read.mode == "L"
        np.testing.assert_array_equal(np.asarray(read), image)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), image)
