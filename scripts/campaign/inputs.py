"""What is given to predict on: playlists, protocols, headers that lie, endless files, pictures that are none."""

import io
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from _harness import Case, call
from _mutations import mutate, mutations
from PIL import Image


def video(
    path: Path,
    frames: int = 6,
    size: tuple[int, int] = (64, 96),
    container: str = "",
    **options: Any,
) -> bytes:
    """A small film, and what is in its file."""
    codec, rate, pts = (options.get(k, d) for k, d in (("codec", "libx264"), ("rate", 24), ("pts", None)))
    with av.open(str(path), "w", format=container or None) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = options.get("pixels", "yuv420p")
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), i * 30 % 255, np.uint8), format="rgb24")
            if pts:
                frame.pts, frame.time_base = pts(i), Fraction(1, 90_000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path.read_bytes()


def png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0\x3b"


def playlists(inputs: Path, secret: Path) -> Iterator[Path]:
    """Files that lead to other files, to the network, or for ever on."""
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n"
    other = f"{secret}/private.ts"
    texts = {
        "absolute.m3u8": f"{head}file://{other}\n#EXT-X-ENDLIST\n",
        "relative.m3u8": f"{head}../secret/private.ts\n#EXT-X-ENDLIST\n",
        "network.m3u8": f"{head}http://127.0.0.1:9/private.ts\n#EXT-X-ENDLIST\n",
        "live.m3u8": f"{head}../secret/private.ts\n",
        "concat.m3u8": f"{head}concat:{other}|{secret}/private.txt\n#EXT-X-ENDLIST\n",
        "subfile.m3u8": f"{head}subfile,,start,0,end,100,,:{other}\n#EXT-X-ENDLIST\n",
        "ffconcat_absolute.mp4": f"ffconcat version 1.0\nfile '{secret}/private.mp4'\n",
        "ffconcat_relative.mp4": "ffconcat version 1.0\nfile ../secret/private.mp4\n",
        "ffconcat_network.mp4": "ffconcat version 1.0\nfile http://127.0.0.1:9/private.mp4\n",
        "ffconcat_itself.mp4": "ffconcat version 1.0\nfile ffconcat_itself.mp4\n",
        "ffconcat_million.mp4": "ffconcat version 1.0\n" + "file ok.mp4\n" * 1_000_000,
        "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
        'mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>http://127.0.0.1:9/x.mp4</BaseURL>'
        "<SegmentBase/></Representation></AdaptationSet></Period></MPD>",
        "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "picture.svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}/private.txt"/></svg>',
        "list.pls": "[playlist]\nFile1=../secret/private.mp4\n",
        "script.avs": 'DirectShowSource("../secret/private.mp4")\n',
        "script.vpy": "import os\nos.system('touch PWNED')\n",
        "filter.lavfi": "movie=../secret/private.mp4",
        "text.txt": "hello world\n" * 100,
        "letters.ans": "\x1b[31mhello\n" * 100,
        "subtitles.srt": "1\n00:00:00,000 --> 00:00:05,000\nhi\n",
        "page.html": "<html>",
        "paper.pdf": "%PDF-1.4 hello",
    }
    for name, text in texts.items():
        (inputs / name).write_text(text)
        yield inputs / name
        if name.endswith(".m3u8"):
            shutil.copy(inputs / name, inputs / f"{name}.mp4")
            yield inputs / f"{name}.mp4"


def lies(inputs: Path, ok: bytes) -> Iterator[Path]:
    """Videos and pictures whose headers promise what is not there, or more than anybody has."""
    sizes = bytearray(ok)
    at = sizes.find(b"avc1", sizes.find(b"stsd"))
    sizes[at + 28 : at + 32] = struct.pack(">HH", 16384, 16384)
    contents = {
        "says_16k.mp4": bytes(sizes),
        "65535.gif": gif(65535, 65535),
        "y4m_16k.y4m": b"YUV4MPEG2 W16384 H16384 F24:1 C420\nFRAME\n" + bytes(1000),
        "y4m_60k.y4m": b"YUV4MPEG2 W60000 H60000 F24:1 C420\nFRAME\n",
        "zero.mp4": b"",
        "random.mp4": random.Random(0).randbytes(100_000),
        "png_50k.png": png(50_000, 50_000, data=zlib.compress(bytes(10**7))),
        "png_2G.png": png(2**31 - 1, 2**31 - 1),
        "png_16_bit.png": png(9000, 9000, 16, 6),
        "bmp_60k.bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "text.jpg": b"hello",
        "empty.png": b"",
        "playlist.jpg": b"#EXTM3U\n#EXTINF:1,\n../secret/private.ts\n",
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(x) run\n",
        "webp_16k.webp": b"RIFF"
        + struct.pack("<I", 30)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + b"\xff\x3f\0" * 2,
        "jpeg_65k.jpg": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9",
        "tiff_60k.tif": b"II*\0\x08\0\0\0\x04\0"
        + b"".join(
            struct.pack("<HHII", *entry)
            for entry in ((256, 4, 1, 60_000), (257, 4, 1, 60_000), (258, 3, 1, 8), (262, 3, 1, 1))
        )
        + bytes(4),
    }
    contents |= {f"cut_{n}.mp4": ok[:n] for n in (1, 50, 500, 1000, len(ok) // 2, len(ok) - 3)}
    for name, content in contents.items():
        (inputs / name).write_bytes(content)
        yield inputs / name
    with open(inputs / "gigabyte.mp4", "wb") as file:
        file.truncate(2**30)
    yield inputs / "gigabyte.mp4"
    bomb = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(bomb, "tiff", compression="group4")
    (inputs / "bomb.tif").write_bytes(bomb.getvalue())
    yield inputs / "bomb.tif"
    os.mkfifo(inputs / "pipe.mp4")
    (inputs / "zero_device.mp4").symlink_to("/dev/zero")
    (inputs / "itself.mp4").symlink_to("itself.mp4")
    yield from (inputs / name for name in ("pipe.mp4", "zero_device.mp4", "itself.mp4", "none.mp4"))


def names(inputs: Path, ok: bytes) -> Iterator[Path]:
    """Whole videos whose names FFmpeg would take for something else."""
    for name in (
        *(
            "12:30 walk.mp4",
            "http:walk.mp4",
            "concat:ok.mp4",
            "pipe:0",
            "data:x.mp4",
            "take%03d.mp4",
            "a,b=c.mp4",
        ),
        *("subfile,,start,0,end,10,,:ok.mp4", "naïve ☃ [x].mp4", "file:ok.mp4", "it's $(x).mp4", "no suffix"),
    ):
        (inputs / name).write_bytes(ok)
        yield inputs / name


def folders(scratch: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of frames with something odd among them; whether they may be predicted on."""
    odd: dict[str, tuple[Callable[[Path], object], bool]] = {
        "pipe": (os.mkfifo, False),
        "device": (lambda p: p.symlink_to("/dev/zero"), False),
        "folder": (lambda p: p.mkdir(), False),
        "desert": (lambda p: (p.touch(), os.truncate(p, 2**40)), False),
        "text": (lambda p: p.write_text("hello"), False),
        "nothing": (lambda p: p.touch(), False),
        "bomb": (lambda p: p.write_bytes(png(40_000, 40_000)), False),
        "dangling": (lambda p: p.symlink_to("nowhere"), False),
        "link": (lambda p: p.symlink_to("00000.png"), True),
        "cut": (lambda p: p.write_bytes((p.parent / "00000.png").read_bytes()[:60]), False),
        "grey": (lambda p: Image.new("L", (96, 64)).save(p), True),
    }
    for name, (make, fine) in odd.items():
        folder = scratch / f"frames_{name}"
        folder.mkdir()
        for i in range(2):
            cv2.imwrite(str(folder / f"{i:05d}.png"), np.full((64, 96, 3), 60 * i, np.uint8))
        make(folder / "00002.png")
        yield folder, fine


def cases(scratch: Path) -> Iterator[Case]:
    inputs, secret = scratch / "in", scratch / "secret"
    inputs.mkdir()
    secret.mkdir()
    ok = video(inputs / "ok.mp4")
    (secret / "private.mp4").write_bytes(ok)
    video(secret / "private.ts", container="mpegts")
    (secret / "private.txt").write_text("TOP SECRET TEXT\n" * 30)

    def predict(path: Path, wanted: str) -> Callable[[], str | None]:
        def run() -> str | None:
            done = call(
                ["predict", path.name, "-o", scratch / "out", "--overwrite"], scratch, cwd=path.parent
            )
            if (scratch / "in/PWNED").exists():
                return "ran a script"
            wrong = getattr(done, wanted)()
            return f"{path.name}: {wrong}" if wrong else None

        return run

    for path in playlists(inputs, secret):
        yield Case("leads elsewhere, or is no video", "predict", predict(path, "refused"))
    for path in lies(inputs, ok):
        fine = path.name in (f"cut_{len(ok) - 3}.mp4", "says_16k.mp4")  # its codec says what is there
        yield Case("header that lies", "predict", predict(path, "held" if fine else "refused"))
    for path in names(inputs, ok):
        yield Case("name like a protocol", "predict", predict(path, "fine"))
    for path, fine in folders(scratch):
        yield Case("odd among frames", "predict", predict(path, "fine" if fine else "refused"))
    makers = {
        "one.mp4": {"frames": 1},
        "fast.mp4": {"rate": 10**6},
        "late.mkv": {"frames": 3, "pts": lambda i: i * 90_000 * 86_400 * 300},
        "tiny.mp4": {"size": (2, 2)},
        "wide.mkv": {"size": (16, 8192), "frames": 3},
        "film.mov": {},
        "film.webm": {"codec": "libvpx-vp9"},
        "film.avi": {"codec": "mpeg4"},
        "film.ts": {"container": "mpegts"},
        "film.gif": {"codec": "gif", "pixels": "rgb8", "rate": 10},
        "film.flv": {"codec": "flv"},
        "film.y4m": {"codec": "wrapped_avframe"},
    }
    for name, options in makers.items():
        try:
            video(inputs / name, **options)
        except (av.error.FFmpegError, ValueError, NotImplementedError):
            continue
        yield Case("unusual but whole", "predict", predict(inputs / name, "held"))

    from davis_exp.data.frames import read_frame
    from davis_exp.data.masks import MaskReader
    from davis_exp.data.sources.video import VideoFile

    clip = scratch / "mutated.mp4"

    def look() -> None:
        sequence = VideoFile(clip)
        for i in range(min(len(sequence), 10)):
            sequence.frame(i)

    yield mutations(
        "mutated", "reader of videos", lambda rng: clip.write_bytes(mutate(ok, rng)), look, scratch
    )
    pictures = []
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    grey16 = Image.fromarray(noise[..., 0].astype(np.uint16))
    made = [("png", Image.fromarray(noise).convert(mode)) for mode in ("L", "P", "1", "LA")] + [
        ("png", grey16)
    ]
    made += [(suffix, Image.fromarray(noise)) for suffix in ("jpg", "tiff", "webp", "bmp", "gif")]
    for suffix, drawn in made:
        buffer = io.BytesIO()
        drawn.save(buffer, {"jpg": "jpeg"}.get(suffix, suffix))
        pictures.append((f"mutated.{suffix}", buffer.getvalue()))
    current = [scratch / "x.png"]

    def picture(rng: random.Random) -> str:
        name, content = rng.choice(pictures)
        current[0] = scratch / name
        current[0].write_bytes(mutate(content, rng))
        return name

    yield mutations("mutated", "reader of frames", picture, lambda: read_frame(current[0]), scratch)
    yield mutations(
        "mutated", "reader of masks", picture, lambda: MaskReader().read(current[0]).inside, scratch
    )
