"""Broken and hostile results: each is answered by exit 2 and a line that names the defect and the file."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from davis_exp.cli import main
from davis_exp.data import png
from davis_exp.results.check import defects

MASK = np.zeros((48, 70), np.uint8)
SECRET = "the organiser's secret"


def edit(folder, name="paths.json", **columns):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | columns))


def edit_paths(folder, change):
    content = json.loads((folder / "paths.json").read_text())
    change(content["output"])
    (folder / "paths.json").write_text(json.dumps(content))


def point(folder, index, path):
    edit_paths(folder, lambda output: output.update({str(index): path}))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width, height, raw, depth=8, colour=0, extra=b""):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return png.SIGNATURE + head + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def mask_file(folder, data, index=3):
    (folder / "outputs" / f"{index:05d}.png").write_bytes(data)


def pil(mode, **options):
    buffer = io.BytesIO()
    Image.fromarray(MASK).convert(mode).save(buffer, "PNG", **options)
    return buffer.getvalue()


def zero_one(folder):
    for file in (folder / "outputs").iterdir():
        file.write_bytes(png.encode((png.decode(file.read_bytes(), "x") > 127).astype(np.uint8)))


def secret(folder):
    return folder.parent / "classified.png"


def link(path, target):
    path.unlink()
    path.symlink_to(target)


def linked_folder(folder):
    shutil.move(folder / "outputs", folder.parent / "elsewhere")
    (folder / "outputs").symlink_to(folder.parent / "elsewhere")


def fifo(folder):
    (folder / "outputs/00003.png").unlink()
    os.mkfifo(folder / "outputs/00003.png")


def bit_flip(folder):
    file = folder / "outputs/00003.png"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


good = png.encode(MASK)
bomb = raw_png(100_000, 100_000, b"\0" * 1000)
lying = raw_png(70, 48, b"\0" * 71 * 48 * 4000)  # the header is modest, the pixels are 13 MB of zeros
short = raw_png(70, 48, b"\0" * 71 * 20)
animated = raw_png(70, 48, b"\0" * 71 * 48, extra=chunk(b"acTL", b"\0\0\0\2\0\0\0\0"))

# name: (how to break good results, what the line says)
BROKEN = {
    "missing index": (lambda r: edit_paths(r, lambda o: o.pop("4")), "index 4 (swan/00004) is missing"),
    "extra index": (lambda r: (mask_file(r, good, 50), point(r, 50, "outputs/00050.png")), "index 50"),
    "duplicate key": (
        lambda r: (r / "paths.json").write_text(
            (r / "paths.json").read_text().replace('"output": {', '"output": {"0": "outputs/00001.png",')
        ),
        "duplicate: '0' is written twice",
    ),
    "duplicate path": (lambda r: point(r, 4, "outputs/00000.png"), "index 4: duplicate: outputs/00000.png"),
    "leading zero": (lambda r: point(r, "00", "outputs/00000.png"), "index '00' is not an integer"),
    "word for an index": (lambda r: point(r, "first", "outputs/00000.png"), "index 'first' is not an integer"),
    "negative index": (lambda r: point(r, -1, "outputs/00000.png"), "index '-1' is not an integer"),
    "fractional index": (lambda r: point(r, 1.5, "outputs/00000.png"), "index '1.5' is not an integer"),
    "arabic digits": (lambda r: point(r, "٣", "outputs/00000.png"), "is not an integer"),
    "endless index": (lambda r: point(r, "9" * 5000, "outputs/00000.png"), "is not an integer"),
    "null path": (lambda r: point(r, 3, None), "index 3: the path is null"),
    "number for a path": (lambda r: point(r, 3, 7), "index 3: the path is 7"),
    "list for a path": (lambda r: point(r, 3, ["a"]), "index 3: the path is"),
    "empty path": (lambda r: point(r, 3, ""), "index 3: the path is empty"),
    "mixed slashes": (lambda r: point(r, 3, "a/outputs\\00003.png"), "mixes / and"),
    "absolute path": (lambda r: point(r, 3, str(secret(r))), "is an absolute path"),
    "drive letter": (lambda r: point(r, 3, "C:\\outputs\\00003.png"), "is an absolute path"),
    "network share": (lambda r: point(r, 3, "\\\\host\\share\\00003.png"), "is an absolute path"),
    "parent": (lambda r: point(r, 3, "../classified.png"), "../classified.png leaves the folder"),
    "parent inside": (lambda r: point(r, 3, "outputs/../../classified.png"), "leaves the folder"),
    "parent with backslashes": (lambda r: point(r, 3, "..\\classified.png"), "leaves the folder"),
    "NUL in a path": (lambda r: point(r, 3, "outputs/0\0.png"), "is not a plain relative path"),
    "line break in a path": (lambda r: point(r, 3, "outputs/\n0.png"), "is not a plain relative path"),
    "endless path": (lambda r: point(r, 3, "a/" * 5000 + "x.png"), "is not a plain relative path"),
    "link out": (lambda r: link(r / "outputs/00003.png", secret(r)), "00003.png goes through a symbolic link"),
    "link inside": (lambda r: link(r / "outputs/00003.png", r / "outputs/00002.png"), "symbolic link"),
    "dangling link": (lambda r: link(r / "outputs/00003.png", r / "nowhere"), "symbolic link"),
    "linked folder": (linked_folder, "goes through a symbolic link"),
    "linked paths.json": (lambda r: link(r / "paths.json", secret(r)), "paths.json goes through a symbolic link"),
    "linked metadata": (lambda r: link(r / "metadata.json", secret(r)), "metadata.json goes through a symb"),
    "pipe": (fifo, "outputs/00003.png is not a regular file"),
    "folder for a file": (lambda r: point(r, 3, "outputs"), "outputs is not a regular file"),
    "missing file": (lambda r: (r / "outputs/00003.png").unlink(), "outputs/00003.png (index 3) is missing"),
    "stale file": (lambda r: mask_file(r, good, 77), "outputs/00077.png is extra"),
    "RGB": (lambda r: mask_file(r, pil("RGB")), "outputs/00003.png is RGB"),
    "RGBA": (lambda r: mask_file(r, pil("RGBA")), "outputs/00003.png is RGBA"),
    "LA": (lambda r: mask_file(r, pil("LA")), "outputs/00003.png is grey + alpha"),
    "palette": (lambda r: mask_file(r, pil("P")), "outputs/00003.png is a palette mask"),
    "1 bit": (lambda r: mask_file(r, pil("1")), "outputs/00003.png has 1-bit pixels"),
    "16 bit": (
        lambda r: mask_file(r, raw_png(70, 48, b"\0" * 141 * 48, depth=16)),
        "outputs/00003.png has 16-bit pixels",
    ),
    "0/1 masks": (zero_one, "these are 0/1 masks"),
    "JPEG": (lambda r: Image.fromarray(MASK).save(r / "outputs/00003.png", "JPEG"), "00003.png is not a PNG"),
    "transposed": (lambda r: mask_file(r, png.encode(MASK.T.copy())), "00003.png is 48x70 pixels where"),
    "one row": (lambda r: mask_file(r, png.encode(MASK[:1])), "outputs/00003.png is 70x1 pixels where"),
    "empty file": (lambda r: mask_file(r, b""), "outputs/00003.png is empty"),
    "half a header": (lambda r: mask_file(r, good[:20]), "outputs/00003.png is truncated"),
    "truncated": (lambda r: mask_file(r, good[:-20]), "outputs/00003.png is truncated"),
    "no end": (lambda r: mask_file(r, good[:-12]), "outputs/00003.png is truncated"),
    "missing rows": (lambda r: mask_file(r, short), "outputs/00003.png cannot be decoded"),
    "flipped bit": (bit_flip, "outputs/00003.png is damaged"),
    "damaged header": (lambda r: mask_file(r, good[:17] + b"\7" + good[18:]), "00003.png is damaged: its header"),
    "no pixels": (lambda r: mask_file(r, raw_png(0, 48, b"")), "is an image of 0x48 pixels"),
    "bomb": (lambda r: mask_file(r, bomb), "00003.png announces 100000x100000 pixels"),
    "animated": (lambda r: mask_file(r, animated), "outputs/00003.png is an animated PNG"),
    "no paths.json": (lambda r: (r / "paths.json").unlink(), "paths.json is missing"),
    "not JSON": (lambda r: (r / "paths.json").write_text("output: {0: x}"), "paths.json is not JSON"),
    "not text": (lambda r: (r / "paths.json").write_bytes(b"\xff\xfe\xfd" * 9), "paths.json is not JSON"),
    "nested JSON": (lambda r: (r / "paths.json").write_text("[" * 100_000), "paths.json is not JSON"),
    "list": (lambda r: (r / "paths.json").write_text("[1, 2]"), "paths.json is of the wrong shape"),
    "no output column": (lambda r: (r / "paths.json").write_text('{"raw": {}}'), "paths.json is of the wrong"),
    "output is a list": (lambda r: edit(r, output=["a.png"]), "paths.json is of the wrong shape"),
    "nothing": (lambda r: edit(r, output={}), "paths.json names no file"),
    "absurd size": (
        lambda r: (r / "paths.json").write_text('{"output": {}}' + " " * 50_000_000),
        "paths.json is larger than",
    ),
    "no metadata": (lambda r: (r / "metadata.json").unlink(), "metadata.json is missing"),
    "metadata is a list": (lambda r: (r / "metadata.json").write_text("[]"), "metadata.json is of the wrong shape"),
    "no nparams": (lambda r: (r / "metadata.json").write_text("{}"), "nparams is missing"),
    "nparams text": (lambda r: edit(r, "metadata.json", nparams="1000"), "nparams is 1000, not an integer"),
    "nparams float": (lambda r: edit(r, "metadata.json", nparams=1e6), "nparams is 1000000.0, not an integer"),
    "nparams true": (lambda r: edit(r, "metadata.json", nparams=True), "nparams is True, not an integer"),
    "nparams zero": (lambda r: edit(r, "metadata.json", nparams=0), "nparams is 0"),
    "nparams negative": (lambda r: edit(r, "metadata.json", nparams=-5), "nparams is -5"),
    "over the limit": (lambda r: edit(r, "metadata.json", nparams=50_000_001), "over the limit of 50,000,000 by 1"),
    "nflops text": (lambda r: edit(r, "metadata.json", nflops="few"), "nflops is few, not a number"),
    "nflops NaN": (lambda r: edit(r, "metadata.json", nflops=float("nan")), "nflops is nan, not a number"),
    "frames too few": (lambda r: edit(r, "metadata.json", frames=["swan/00000"]), "frames names 1 frames"),
    "frames no names": (lambda r: edit(r, "metadata.json", frames=[1] * 9), "frames is not a list of names"),
    "other frames": (lambda r: edit(r, "metadata.json", frames=["cat/0"] * 9), "index 0 is cat/0 here"),
}  # fmt: skip


@pytest.fixture
def broken(results):
    secret(results).write_text(SECRET)

    def make(name):
        BROKEN[name][0](results)
        return results

    return make


@pytest.mark.parametrize("name", BROKEN)
def test_broken_results(broken, truth, capsys, name):
    folder, line = broken(name), BROKEN[name][1]
    assert main(["check", str(folder), "--data", str(truth)]) == 2
    printed = capsys.readouterr().out
    assert line in printed
    assert SECRET not in printed
    # score refuses what check refuses, in one line
    assert main(["score", str(folder), str(truth)]) == 2
    refusal = capsys.readouterr()
    assert len(refusal.err.strip().splitlines()) == 1
    assert refusal.out == ""


def test_there_are_enough_of_them():
    assert len(BROKEN) >= 40


def test_valid_results_pass(results, truth, capsys):
    assert main(["check", str(results), "--data", str(truth)]) == 0
    assert main(["check", str(results)]) == 0
    assert "valid submission" in capsys.readouterr().out
    assert list(defects(results)) == []


def test_a_limit_of_ones_own(results, capsys):
    assert main(["check", str(results), "--limit", "999"]) == 2
    assert "over the limit of 999 by 1" in capsys.readouterr().out
    edit(results, "metadata.json", nparams=10**12)
    assert main(["check", str(results), "--limit", "none"]) == 0
    assert main(["check", str(results), "--limit", "many"]) == 2


def test_every_defect_has_a_line(results, truth, capsys):
    for name in ("RGB", "negative index", "nparams zero"):
        BROKEN[name][0](results)
    mask_file(results, b"", index=5)
    assert main(["check", str(results), "--data", str(truth)]) == 2
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5
    assert lines[-1].endswith("4 defects")


def test_a_quiet_model_is_no_zero_one_mask(make_results, truth):
    # in one frame nothing is above 1 of 255: that is a soft output that sees no object
    folder = make_results(lambda mask, index: mask / 255 if index == 0 else mask * 1.0)
    assert main(["check", str(folder), "--data", str(truth)]) == 0


def test_backslashes_alone_are_fine(results, truth):
    edit_paths(results, lambda o: o.update({k: v.replace("/", "\\") for k, v in o.items()}))
    assert main(["check", str(results), "--data", str(truth)]) == 0


def test_a_lying_mask_costs_little(results):
    """The header is small, the compressed pixels are not: only as many as announced are unpacked."""
    mask_file(results, lying)
    tracemalloc.start()
    list(defects(results, workers=1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def pack(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members:
            packed.writestr(name, data)
    return path


def members(folder):
    return [
        (str(file.relative_to(folder)), file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]


def encrypted(path, folder):
    pack(path, members(folder))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(signature, at + 4)
    path.write_bytes(data)


def linked_member(path, folder):
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in members(folder):
            info = zipfile.ZipInfo(name)
            if name.endswith("00003.png"):
                info.external_attr, data = 0o120777 << 16, b"/etc/passwd"
            packed.writestr(info, data)


def damaged_member(path, folder):
    pack(path, members(folder))
    with zipfile.ZipFile(path) as packed:
        info = packed.getinfo("outputs/00003.png")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 60] ^= 255
    path.write_bytes(data)


def repeated(path, folder):
    with pytest.warns(UserWarning, match="Duplicate name"):
        pack(path, [*members(folder), ("outputs/00003.png", good)])


def bzipped(path, folder):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as packed:
        for name, data in members(folder):
            packed.writestr(name, data)


def big_member(path, folder):
    pack(path, [(n, good + b"\0" * 2**26 if n.endswith("00003.png") else d) for n, d in members(folder)])


def huge_directory(path, folder):
    pack(path, members(folder))
    data = bytearray(path.read_bytes())
    data[-22 + 12 : -22 + 16] = struct.pack("<I", 2**31)
    path.write_bytes(data)


BROKEN_ZIPS = {
    "no zip": (lambda p, r: p.write_bytes(b"hello" * 100), "is not a zip file"),
    "empty": (lambda p, r: p.write_bytes(b""), "is not a zip file"),
    "cut": (lambda p, r: (pack(p, members(r)), p.write_bytes(p.read_bytes()[:-40])), "is not a zip file"),
    "cut in front": (lambda p, r: (pack(p, members(r)), p.write_bytes(p.read_bytes()[500:])), "zip"),
    "huge directory": (huge_directory, "refused without opening"),
    "encrypted": (encrypted, "is encrypted"),
    "link": (linked_member, "outputs/00003.png is a symbolic link"),
    "damaged": (damaged_member, "outputs/00003.png is damaged inside the zip"),
    "repeated": (repeated, "outputs/00003.png twice"),
    "bzip2": (bzipped, "is packed in an unusual way"),
    "zip bomb": (big_member, "outputs/00003.png is larger than"),
    "slipping": (lambda p, r: pack(p, [*members(r), ("../../evil.png", good)]), "../../evil.png is extra"),
}


@pytest.mark.parametrize("name", BROKEN_ZIPS)
def test_broken_zips(tmp_path, results, truth, capsys, name):
    make, line = BROKEN_ZIPS[name]
    path = tmp_path / "packed.zip"
    make(path, results)
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", str(path), "--data", str(truth)]) == 2
    assert line in capsys.readouterr().out
    assert main(["score", str(path), str(truth)]) == 2
    assert sorted(tmp_path.rglob("*")) == before  # nothing is ever unpacked to disk


BROKEN_PLAIN = {
    "missing frame": (lambda f: (f / "bus/00001.png").unlink(), "bus/00001.png is missing"),
    "extra frame": (lambda f: (f / "bus/00009.png").write_bytes(good), "bus/00009.png is extra"),
    "missing sequence": (lambda f: shutil.rmtree(f / "swan"), "swan/00000.png is missing"),
    "size": (lambda f: (f / "bus/00001.png").write_bytes(png.encode(MASK[:9])), "bus/00001.png is 70x9"),
    "link": (
        lambda f: link(f / "bus/00001.png", "/etc/passwd"),
        "bus/00001.png goes through a symbolic link",
    ),
    "nothing": (lambda f: [shutil.rmtree(f / n) for n in ("swan", "bus")], "paths.json is missing"),
}


@pytest.mark.parametrize("name", BROKEN_PLAIN)
def test_broken_plain_folders(tmp_path, truth, capsys, name):
    folder = shutil.copytree(truth / "Annotations" / "480p", tmp_path / "plain")
    assert main(["check", str(folder), "--data", str(truth)]) == 0
    assert "masks in order, but no submission" in capsys.readouterr().out
    make, line = BROKEN_PLAIN[name]
    make(folder)
    assert main(["check", str(folder), "--data", str(truth)]) == 2
    assert line in capsys.readouterr().out
    assert main(["score", str(folder), str(truth)]) == 2


def test_no_results_at_all(tmp_path, truth, capsys):
    assert main(["check", str(tmp_path / "nowhere")]) == 2
    assert main(["score", str(tmp_path / "nowhere"), str(truth)]) == 2
    assert "no results at" in capsys.readouterr().err


WATCH = """
import sys
from pathlib import Path

folders, secrets = sys.argv[2:], []
def watch(event, arguments):
    if event in ("open", "os.scandir", "os.listdir") and isinstance(arguments[0], (str, Path)):
        if "classified" in str(arguments[0]) or "elsewhere" in str(arguments[0]):
            secrets.append(str(arguments[0]))
sys.addaudithook(watch)
from davis_exp.cli import main
codes = [main(["check", folder, "--data", sys.argv[1]]) for folder in folders]
assert set(codes) == {2}, dict(zip(folders, codes))
assert not secrets, secrets
# not ru_maxrss, which a process inherits from the one that started it
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print("PEAK", int(status["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="asks Linux for the peak")
def test_nothing_outside_is_opened_and_memory_is_bounded(tmp_path, results, truth):
    """All of them in one process: what it opened, and the most memory that it ever had."""
    folders = []
    for number, (change, _) in enumerate(BROKEN.values()):
        place = tmp_path / f"case{number}"
        place.mkdir()
        folder = shutil.copytree(results, place / "results")
        secret(folder).write_text(SECRET)
        change(folder)
        folders.append(str(folder))
    for name, (make, _) in BROKEN_ZIPS.items():
        if name != "repeated":
            make(tmp_path / f"{name}.zip", results)
            folders.append(str(tmp_path / f"{name}.zip"))
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(truth), *folders],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.rpartition("PEAK")[2])
    assert peak < 300, f"{peak} MB"
