import struct
import zlib

import cv2
import numpy as np
import pytest

from davis_exp.data.sources import DavisSource
from davis_exp.data.sources.files import read_mask
from davis_exp.data.sources.runs import grey, runs


def sub_png(mask):
    """As DAVIS stores masks: each row the differences to the left neighbour."""
    rows = [b"\1" + np.diff(row, prepend=np.uint8(0)).astype(np.uint8).tobytes() for row in mask]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", mask.shape[1], mask.shape[0], 8, 0, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def mask():
    mask = np.zeros((40, 200), np.uint8)
    cv2.circle(mask, (30, 20), 12, 255, -1)
    mask[5:8, :3], mask[30, 199] = 128, 127
    return mask


def test_masks_are_decoded_exactly(mask):
    found = runs(sub_png(mask))
    assert np.array_equal(found.pixels(found.values), mask)
    assert np.array_equal(found.pixels(found.values >= 128), mask >= 128)


def test_real_masks_are_decoded_as_opencv_does(davis_root):
    sequences = DavisSource(davis_root).sequences("test")
    files = [sequence.mask_file(i) for sequence in sequences for i in (0, len(sequence) // 2)]
    for file in files:
        found = runs(file.read_bytes())
        assert found is not None
        expected = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found.pixels(found.values), expected)
        assert np.array_equal(read_mask(file), expected >= 128)


def test_grey_images_of_any_filter(mask, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    for image in (mask, noise):
        data = cv2.imencode(".png", image)[1].tobytes()
        assert np.array_equal(grey(data), image)
        (tmp_path / "mask.png").write_bytes(data)
        assert np.array_equal(read_mask(tmp_path / "mask.png"), image >= 128)
        assert grey(data[:-20]) is None
        assert grey(data[:60] + bytes([data[60] ^ 1]) + data[61:]) is None
    assert grey(cv2.imencode(".png", np.dstack([mask] * 3))[1].tobytes()) is None


def test_other_images_are_left_to_others(mask):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    for image in (noise, np.dstack([mask] * 3), mask.astype(np.uint16)):
        assert runs(cv2.imencode(".png", image)[1].tobytes()) is None
    assert runs(b"") is None
    assert runs(b"\xff\xd8\xff") is None
    up = [
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_UP,
    ]
    assert runs(cv2.imencode(".png", mask, up)[1].tobytes()) is None


def test_damage_is_not_overlooked(mask):
    whole = sub_png(mask)
    assert runs(whole[:-20]) is None
    for position in range(8, len(whole) - 12, 7):
        broken = bytearray(whole)
        broken[position] ^= 0x55
        assert runs(bytes(broken)) is None
