"""Videos and animations as people have them: cut off, with odd pixels, with covers and several tracks."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from davis_exp.data.sources.animation import AnimationSequence
from davis_exp.data.sources.video import VideoFile, open_input
from davis_exp.results.video import VideoWriter
from davis_exp.utils.errors import BadInput

HEIGHT, WIDTH, COUNT = 72, 120, 60
FORMS = {  # name, codec, pixel format, options of the container
    "fast.mp4": ("libx264", "yuv420p", {"movflags": "faststart"}),
    "fragments.mp4": ("libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    "a.mkv": ("libx264", "yuv420p", {}),
    "a.webm": ("libvpx-vp9", "yuv420p", {}),
    "a.avi": ("mpeg4", "yuv420p", {}),
    "a.gif": ("gif", "rgb8", {}),
}
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT + COUNT, WIDTH, 3), np.uint8)


def picture(i: int) -> np.ndarray:
    """Noise that moves up: large to pack, so that any cut takes frames away."""
    return np.ascontiguousarray(NOISE[i : i + HEIGHT])


def add_video(container, codec, pixels="yuv420p", rate=24):
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pixels
    return stream


def encode(container, stream, count, first=0):
    for i in range(count):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(first + i), format="rgb24")))
    container.mux(stream.encode(None))


def write(path, codec="libx264", pixels="yuv420p", options=None, count=COUNT):
    with av.open(str(path), "w", options=options or {}) as container:
        stream = add_video(container, codec, pixels)
        encode(container, stream, count)
    return path


@pytest.mark.parametrize("name", FORMS)
def test_a_cut_video_says_what_it_promised(name, tmp_path):
    path = write(tmp_path / name, *FORMS[name])
    whole = VideoFile(path)
    assert len(whole) == COUNT
    assert whole.breaks_off is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = VideoFile(path)
    assert COUNT // 8 < len(cut) < COUNT
    announced = "" if name.endswith("gif") else f" of the {COUNT} that it announces"
    assert f"{name} breaks off: {len(cut)} frames{announced} are there" in cut.breaks_off
    assert np.array_equal(cut.frame(3), whole.frame(3))
    assert VideoFile(path, every=7).breaks_off == cut.breaks_off


def test_sound_that_goes_on_is_no_cut(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream, sound = add_video(container, "libx264"), container.add_stream("aac", rate=8000)
        encode(container, stream, 12)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 40_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            container.mux(packet)
    assert len(VideoFile(tmp_path / "a.mkv")) == 12
    assert VideoFile(tmp_path / "a.mkv").breaks_off is None


def test_the_default_track_is_shown_and_the_first_where_none_is_marked(tmp_path):
    for marked in (0, 1):
        with av.open(str(tmp_path / "two.mkv"), "w") as container:
            streams = [add_video(container, "ffv1", "bgr0") for _ in range(2)]
            for number, stream in enumerate(streams):
                stream.disposition = Disposition.default if number == marked else Disposition(0)
            for number, stream in enumerate(streams):
                encode(container, stream, 3, first=10 * number)
        assert np.array_equal(VideoFile(tmp_path / "two.mkv").frame(1), picture(1 + 10 * marked))


def test_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        sound, cover = container.add_stream("aac", rate=8000), add_video(container, "mjpeg", "yuvj420p", 1)
        cover.disposition = Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            container.mux(packet)
        encode(container, cover, 1)
    with pytest.raises(BadInput, match=r"song\.m4a has no picture in it \(a cover only: it is music\)"):
        open_input(tmp_path / "song.m4a")


def test_pixels_that_are_no_squares_stay_so(tmp_path):
    with VideoWriter(tmp_path / "wide.mp4", Fraction(4, 3)) as video:
        for i in range(3):
            video.add(picture(i), Fraction(i, 24))
    sequence = VideoFile(tmp_path / "wide.mp4")
    assert sequence.pixel_aspect == Fraction(4, 3)
    assert sequence.size == (HEIGHT, WIDTH)
    content = bytearray((tmp_path / "wide.mp4").read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    content[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    (tmp_path / "turned.mp4").write_bytes(content)
    turned = VideoFile(tmp_path / "turned.mp4")
    assert (turned.size, turned.pixel_aspect) == ((WIDTH, HEIGHT), Fraction(3, 4))
    with VideoWriter(tmp_path / "square.mp4") as video:
        video.add(picture(0), Fraction(0))
    assert VideoFile(tmp_path / "square.mp4").pixel_aspect == 1


def animation(path, count=6, **options):
    first, *others = (Image.fromarray(picture(i)) for i in range(count))
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("a.webp", {"lossless": True, "duration": 40}, Fraction(1, 25)),
        ("a.png", {"duration": 100}, Fraction(1, 10)),
        ("a.tif", {}, Fraction(1, 24)),
    ],
)
def test_every_picture_of_an_animation_is_a_frame(name, options, rate, tmp_path):
    (sequence,) = open_input(animation(tmp_path / name, **options))
    assert isinstance(sequence, AnimationSequence)
    assert sequence.times == tuple(i * rate for i in range(6))
    assert sequence.frame_ids[5] == "a/00005"
    assert sequence.breaks_off is None
    for i in (0, 3, 1, 5):
        assert np.array_equal(sequence.frame(i), picture(i))
    assert np.array_equal(AnimationSequence(tmp_path / name, every=2).frame(1), picture(2))
    assert len(AnimationSequence(tmp_path / name, every=4)) == 2
    animation(tmp_path / name, 1, **options)
    (still,) = open_input(tmp_path / name)
    assert not isinstance(still, AnimationSequence)


def test_an_animation_that_breaks_off(tmp_path):
    path = animation(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sequence = AnimationSequence(path)
    assert 1 < len(sequence) < 6
    assert (
        f"a.png breaks off: {len(sequence)} frames of the 6 that it announces are there"
        in sequence.breaks_off
    )
    assert np.array_equal(sequence.frame(1), picture(1))


def test_hidden_pictures_and_odd_digits_in_a_folder(tmp_path):
    for name in ("10.jpg", "9.jpg", "1²3.jpg"):
        Image.fromarray(picture(0)).save(tmp_path / name)
    (tmp_path / "._9.jpg").write_bytes(b"\0\5\x16\7")
    (sequence,) = open_input(tmp_path)
    assert [path.name for path in sequence.frames] == ["1²3.jpg", "9.jpg", "10.jpg"]
