"""Picture files that are none, or more than any."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from davis_exp.data.frames import image_size, read_frame
from davis_exp.data.masks import MaskReader
from davis_exp.data.pictures import MAX_PIXELS
from davis_exp.data.sources.video import open_input
from davis_exp.utils.errors import BadInput


def announced(width: int, height: int) -> bytes:
    """A PNG's beginning that announces so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))


@pytest.mark.timeout(20)
def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "desert.png").touch()
    os.truncate(tmp_path / "desert.png", 2**40)
    for name, why in (
        ("pipe", "named pipe"),
        ("zero", "device"),
        ("folder", "folder"),
        ("desert", "larger than"),
    ):
        for read in (read_frame, MaskReader().read, image_size):
            with pytest.raises(BadInput, match=rf"{name}\.png cannot be read \(.*{why}"):
                read(tmp_path / f"{name}.png")
    with pytest.raises(BadInput, match="is no file that can be read"):
        open_input(tmp_path)
    with pytest.raises(BadInput, match=r"none\.png is missing"):
        read_frame(tmp_path / "none.png")


def test_too_many_pixels_are_refused_from_the_header_whatever_the_format(tmp_path):
    side = int(MAX_PIXELS**0.5) + 1
    (tmp_path / "a.png").write_bytes(announced(side, side))
    for suffix, options in (("tif", {"compression": "group4"}), ("bmp", {}), ("gif", {})):
        Image.new("1", (side, side)).save(tmp_path / f"a.{suffix}", **options)
    content = bytearray(_jpeg())
    at = content.find(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    (tmp_path / "a.jpg").write_bytes(content)
    for suffix in ("png", "tif", "bmp", "gif", "jpg"):
        with pytest.raises(BadInput, match=f"announces {side}x{side} pixels, more than 67,108,864"):
            read_frame(tmp_path / f"a.{suffix}")


def test_what_only_looks_like_a_picture_is_none(tmp_path):
    for content in (b"", b"hello", b"#EXTM3U\nx.ts\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(BadInput, match="not an image"):
            read_frame(tmp_path / "a.jpg")


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "jpeg")
    return buffer.getvalue()


def test_a_picture_that_is_refused_is_refused_in_one_line(tmp_path):
    """Pillow warns of sizes, damaged tags and the like by itself; run as a command, where nothing catches that."""
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.tif", compression="group4")
    code = (
        "import sys; from pathlib import Path; from davis_exp.data.frames import read_frame\n"
        "from davis_exp.utils.errors import BadInput\n"
        "try: read_frame(Path(sys.argv[1]))\n"
        "except BadInput as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bomb.tif"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "announces 12000x12000 pixels" in done.stdout
