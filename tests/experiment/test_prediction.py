"""Predicting on videos as people have them: every frame gets a mask of its size, and the overlay plays."""

import json
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from davis_exp.cli import main
from davis_exp.config.parts import FURTHEST
from davis_exp.data.flow import DisFlow
from davis_exp.data.sources import film
from davis_exp.data.sources.film import Film
from davis_exp.data.sources.video import VideoFile, open_input
from davis_exp.experiment import build, prediction
from davis_exp.experiment.prediction import Output, Predictor, same_pixels
from davis_exp.metrics.jaccard import jaccard
from davis_exp.results.video import VideoWriter
from davis_exp.utils.errors import BadInput


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model that calls the bright foreground."""
    from hydra import compose, initialize_config_dir

    from davis_exp.config import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["encoder=pixel", "decoder=pixel", "data.size=[64,96]"])
    model = build.build_model(cfg)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(30.0 if parameter.ndim > 1 else -45.0)  # logit 90 · grey − 45
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"config": build.plain(cfg), "state_dict": state}, path)
    return path


def picture(i, height, width):
    """Dark, with a bright square that moves right; a mark in the top left corner shows which way up it is."""
    frame = np.full((height, width, 3), 20, np.uint8)
    frame[height // 2 : height // 2 + 30, 5 + 2 * i : 35 + 2 * i] = 240
    frame[:16, :16] = 240
    return frame


def write(path, count=12, height=72, width=120, times=None):
    with VideoWriter(path) as video:
        for i in range(count):
            video.add(picture(i, height, width), times[i] if times else Fraction(i, 24))
    return path


def decoded(path):
    with av.open(str(path)) as container:
        return [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def masks(folder):
    return [np.asarray(Image.open(path)) for path in sorted((folder / "masks").glob("*.png"))]


def test_a_video_gets_a_mask_a_frame_and_an_overlay_that_plays(checkpoint, tmp_path):
    clip = write(tmp_path / "clip.mp4")
    assert main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "out")]) == 0
    found = masks(tmp_path / "out")
    assert len(found) == 12
    for i, mask in enumerate(found):
        assert (mask.shape, mask.dtype, set(np.unique(mask))) == ((72, 120), np.uint8, {0, 255})
        truth = picture(i, 72, 120)[..., 0] > 128
        assert (mask > 0)[truth].mean() > 0.85
        assert (mask > 0)[~truth].mean() < 0.05
    shown = decoded(tmp_path / "out/overlay.mp4")
    assert [time for time, _ in shown] == pytest.approx([i / 24 for i in range(12)], abs=1e-3)
    red, green, _ = shown[3][1][50, 25].astype(int)  # inside the square: tinted
    assert red - green > 30


def test_a_film_is_followed_to_its_end_before_what_rests_is_dropped(checkpoint, tmp_path, monkeypatch):
    old, model = torch.load(checkpoint, weights_only=True), tmp_path / "model.safetensors"
    for key in (
        "flow_gaps",
        "consensus",
        "carry",
        "track",
        "track_share",
    ):  # as of a checkpoint older than they are
        del old["config"]["inference"][key]
    torch.save(old, tmp_path / "old.ckpt")
    settings = ["inference.carry=0.5", "inference.track=motion"]
    assert main(["export", str(tmp_path / "old.ckpt"), "-o", str(model), *settings]) == 0
    clip = write(tmp_path / "clip.mp4", 40)  # more frames than are held
    most = 0
    read = prediction._FrameCache.frame

    def counted(self, i):
        nonlocal most
        frame, most = read(self, i), max(most, len(self._kept))
        return frame

    monkeypatch.setattr(prediction._FrameCache, "frame", counted)
    for checkpoint_, mark in ((tmp_path / "old.ckpt", True), (model, False)):
        most = 0
        assert main(["predict", str(checkpoint_), str(clip), "-o", str(tmp_path / "out"), "--overwrite"]) == 0
        found = masks(tmp_path / "out")
        assert len(found) == 40
        for i, mask in enumerate(found):
            assert mask[40:62, 10 + 2 * i : 30 + 2 * i].mean() == 255
            assert (mask[2:14, 2:14].mean() == 255) == mark
    assert most <= prediction.LEAST


def test_masks_that_come_late_cost_a_second_reading_and_no_more(checkpoint, tmp_path, monkeypatch):
    model = tmp_path / "model.safetensors"
    assert main(["export", str(checkpoint), "-o", str(model), "inference.consensus=0.25"]) == 0
    clip = write(tmp_path / "clip.mp4", 45)
    readings, most = 0, 0
    start, read = Film._start_over, prediction._FrameCache.frame

    def counted(self):
        nonlocal readings
        readings += 1
        start(self)

    def kept(self, i):
        nonlocal most
        frame, most = read(self, i), max(most, len(self._kept))
        return frame

    monkeypatch.setattr(Film, "_start_over", counted)
    monkeypatch.setattr(prediction._FrameCache, "frame", kept)
    assert main(["predict", str(model), str(clip), "-o", str(tmp_path / "out")]) == 0
    found = masks(tmp_path / "out")
    assert len(found) == 45
    for i, mask in enumerate(found):
        assert mask[40:62, 10 + 2 * i : 30 + 2 * i].mean() > 250
    shown = decoded(tmp_path / "out/overlay.mp4")
    for i in (0, 22, 44):  # each mask over its own frame
        red, green, _ = shown[i][1][50, 20 + 2 * i].astype(int)
        assert red - green > 30
    assert readings <= 3  # opened, read, and read again behind
    assert most <= prediction.LEAST


def test_a_film_of_large_frames_is_read_once_whatever_the_gap_of_its_flow(tmp_path, monkeypatch):
    film_of = VideoFile(write(tmp_path / "clip.mp4", 14))
    monkeypatch.setattr(film, "BYTES_HELD", 1)
    film_of.frame(0)
    monkeypatch.setattr(Film, "_start_over", lambda self: pytest.fail("read from the start"))
    for i in range(14):
        for gap in (FURTHEST, -FURTHEST, 1):
            DisFlow(cache=False).vectors(film_of, i, gap)


def rotated(path):
    """Writes into an mp4's track header that it is to be turned 90° clockwise, as a phone held upright does."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    content[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)
    return path


def test_a_portrait_video_is_turned_upright(checkpoint, tmp_path):
    clip = rotated(write(tmp_path / "clip.mp4"))
    frame = VideoFile(clip).frame(0)
    assert frame.shape == (120, 72, 3)
    assert frame[:12, -12:].mean() > 200  # the top left corner, turned clockwise, is the top right one
    main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "out")])
    assert {mask.shape for mask in masks(tmp_path / "out")} == {(120, 72)}
    assert decoded(tmp_path / "out/overlay.mp4")[0][1].shape == (120, 72, 3)


def test_frame_times_are_kept(checkpoint, tmp_path):
    times = [Fraction(n, 100) for n in (0, 2, 9, 10, 30, 31)]
    clip = write(tmp_path / "clip.mp4", count=6, times=times)
    main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "over.mp4")])
    assert [time for time, _ in decoded(tmp_path / "over.mp4")] == pytest.approx(
        [float(t) for t in times], abs=1e-3
    )


def test_an_odd_width_is_padded_in_the_video_only(checkpoint, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(picture(i, 71, 121)).save(folder / f"{i + 9}.png")
    main(["predict", str(checkpoint), str(folder), "-o", str(tmp_path / "out")])
    assert [mask.shape for mask in masks(tmp_path / "out")] == [(71, 121)] * 3
    assert decoded(tmp_path / "out/overlay.mp4")[0][1].shape == (72, 122, 3)


def test_pictures_are_taken_in_natural_order(tmp_path):
    for name in ("10.png", "9.png", "a.txt", "._9.png"):
        Image.fromarray(picture(0, 8, 8)).save(tmp_path / name, format="png")
    (sequence,) = open_input(tmp_path)
    assert [path.name for path in sequence.frames] == ["9.png", "10.png"]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "gif"])
def test_overlay_alone_in_every_format(checkpoint, tmp_path, suffix):
    clip = write(tmp_path / "clip.mp4", count=6)
    out = tmp_path / f"over.{suffix}"
    assert main(["predict", str(checkpoint), str(clip), "-o", str(out), "--every", "2"]) == 0
    assert len(decoded(out)) == 3
    assert not (tmp_path / "masks").exists()


def test_soft_masks_and_cut_outs(checkpoint, tmp_path):
    clip = write(tmp_path / "clip.mp4", count=2)
    main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "out"), "--soft", "--cutout"])
    soft = masks(tmp_path / "out")[0]
    assert len(np.unique(soft)) > 2
    cut = np.asarray(Image.open(tmp_path / "out/cutout/00000.png"))
    np.testing.assert_array_equal(cut[..., 3], soft)
    assert (tmp_path / "out/cutout.webm").stat().st_size > 0


def test_reading_back_and_forth_gives_the_same_frames(tmp_path):
    sequence = VideoFile(write(tmp_path / "clip.mp4", count=40))
    forwards = [sequence.frame(i) for i in range(40)]
    other = sequence.again()
    for i in (39, 0, 20, 19, 21):
        np.testing.assert_array_equal(other.frame(i), forwards[i])


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "gif", "avi"])
def test_a_file_is_believed_where_decoding_finds_the_same(tmp_path, suffix):
    times = [Fraction(n, 100) for n in (0, 4, 18, 20, 60, 62, 90)]
    path = tmp_path / f"clip.{suffix}"
    if suffix == "avi":  # has no times of frames of its own
        times = [Fraction(n, 24) for n in range(7)]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=24)
            stream.height, stream.width, stream.pix_fmt = 72, 120, "yuv420p"
            for i in range(7):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, 72, 120), format="rgb24")))
            container.mux(stream.encode(None))
    else:
        write(path, count=7, times=times)
    sequence = VideoFile(path)
    assert (sequence._promised() is None) == (suffix == "avi")
    assert [float(time) for time in sequence.times] == pytest.approx([float(t) for t in times], abs=1e-3)
    for i, (_, shown) in enumerate(decoded(path)):
        np.testing.assert_array_equal(sequence.frame(i), shown)
    np.testing.assert_array_equal(VideoFile(path, every=3).frame(2), decoded(path)[6][1])


def damaged(path, first, last):
    """Fills the packets of frames first … last with ones."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = sorted((p for p in container.demux(video=0) if p.size), key=lambda packet: packet.pts)
        for packet in packets[first : last + 1]:
            content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)


def test_what_is_damaged_inside_is_the_frame_before(checkpoint, tmp_path, caplog):
    whole = VideoFile(write(tmp_path / "whole.mp4", count=40))
    damaged(clip := write(tmp_path / "clip.mp4", count=40), 39, 39)  # the last, which no other hangs on
    damaged(clip, 5, 5)
    sequence = VideoFile(clip)
    frames = [sequence.frame(i) for i in range(40)]
    for i in (5, 39):
        np.testing.assert_array_equal(frames[i], frames[i - 1])
        assert f"damaged from frame {i}," in caplog.text
    for i in range(4):
        np.testing.assert_array_equal(frames[i], whole.frame(i))
    with pytest.raises(BadInput, match="no more frames"):
        sequence.frame(40)
    assert main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "out")]) == 0
    assert len(masks(tmp_path / "out")) == len(decoded(tmp_path / "out/overlay.mp4")) == 40


OPENING = """
import resource, sys
from pathlib import Path
from davis_exp.data.sources.video import VideoFile
VideoFile(Path(sys.argv[1])).frame(0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_opening_does_not_hold_the_file(tmp_path):
    """A file of 30 MB of noise takes no more memory than one of its frames."""
    rng = np.random.default_rng(0)

    def peak(name, frames):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mjpeg", rate=24, options={"qmin": "1", "qmax": "1"})
            stream.height, stream.width, stream.pix_fmt = 480, 640, "yuvj420p"
            for _ in range(frames):
                noise = rng.integers(0, 256, (480, 640, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
            container.mux(stream.encode(None))
        command = [sys.executable, "-W", "ignore", "-c", OPENING, str(tmp_path / name)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    small, large = peak("small.mkv", 2), peak("large.mkv", 100)
    assert (tmp_path / "large.mkv").stat().st_size > 30e6
    assert large - small < 15_000  # KB


def test_a_video_that_breaks_off_keeps_the_masks_so_far(checkpoint, tmp_path, capsys):
    damaged(clip := write(tmp_path / "clip.mp4", count=60), 30, 59)
    assert main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.strip()
    assert "clip.mp4 cannot be decoded after frame" in said
    assert "\n" not in said
    assert (
        25 <= len(masks(tmp_path / "out")) <= 30 + 24
    )  # a second may be missing, and frames wait to be drawn


@pytest.mark.parametrize("alone", [False, True])
def test_a_video_cut_off_keeps_what_there_is_and_says_what_was_promised(checkpoint, tmp_path, capsys, alone):
    noise = np.random.default_rng(0).integers(0, 256, (72, 120, 3), np.uint8)
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 72, 120, "yuv420p"
        for i in range(40):
            frame = np.ascontiguousarray(np.roll(noise, i, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    out = tmp_path / ("over.mp4" if alone else "out")
    assert main(["predict", str(checkpoint), str(clip), "-o", str(out)]) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    found = len(decoded(out if alone else out / "overlay.mp4"))
    assert f"clip.mp4 breaks off: {found} frames of the 40 that it announces are there" in said
    assert 5 < found < 40
    assert alone or len(masks(out)) == found


def test_an_overlay_has_the_pixels_of_its_video(checkpoint, tmp_path):
    clip = tmp_path / "wide.mp4"
    with VideoWriter(clip, Fraction(4, 3)) as video:
        for i in range(3):
            video.add(picture(i, 72, 120), Fraction(i, 24))
    assert main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "out")]) == 0
    assert {mask.shape for mask in masks(tmp_path / "out")} == {(72, 120)}
    with av.open(str(tmp_path / "out/overlay.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_real_frames(checkpoint, davis_root, tmp_path):
    folder = davis_root / "JPEGImages/480p/blackswan"
    assert main(["predict", str(checkpoint), str(folder), "-o", str(tmp_path / "out"), "--every", "10"]) == 0
    assert [mask.shape for mask in masks(tmp_path / "out")] == [(480, 854)] * 5


def test_a_shorter_video_leaves_nothing_of_a_longer_one(checkpoint, tmp_path):
    """Also: options may stand before the input."""
    out = tmp_path / "out"
    long, short = (write(tmp_path / f"{n}.mp4", count=n) for n in (6, 2))
    assert main(["predict", str(checkpoint), str(long), "-o", str(out), "--cutout"]) == 0
    assert main(["predict", str(checkpoint), "-o", str(out), str(short), "--overwrite"]) == 0
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert left == ["confidence.json", "masks/00000.png", "masks/00001.png", "overlay.mp4"]


def test_without_a_checkpoint_the_model_that_ships_is_used(davis_root, tmp_path):
    clip = davis_root / "JPEGImages/480p/dog"
    folder = tmp_path / "dog"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i:05d}.jpg").symlink_to(clip / f"{i:05d}.jpg")
    assert main(["predict", str(folder), "-o", str(tmp_path / "out")]) == 0
    found = masks(tmp_path / "out")
    assert len(found) == 3
    for i, mask in enumerate(found):
        truth = np.asarray(Image.open(davis_root / f"Annotations/480p/dog/{i:05d}.png"))
        assert jaccard(mask > 0, truth > 0) > 0.75


def bad_inputs(tmp_path):
    yield tmp_path / "nowhere.mp4", "no such file"
    (tmp_path / "empty.mp4").write_bytes(b"")
    yield tmp_path / "empty.mp4", "cannot be decoded"
    (tmp_path / "text.mp4").write_text("hello " * 500)
    yield tmp_path / "text.mp4", "cannot be decoded"
    whole = write(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    yield tmp_path / "cut.mp4", "cannot be decoded"
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    yield tmp_path / "sound.wav", "no video of a kind that is read"
    (tmp_path / "folder").mkdir()
    yield tmp_path / "folder", "holds no pictures"


def test_what_is_no_video_is_refused_in_one_line(checkpoint, tmp_path, capsys):
    for path, message in bad_inputs(tmp_path):
        assert main(["predict", str(checkpoint), str(path), "-o", str(tmp_path / "out")]) == 2, path
        said = capsys.readouterr().err.strip()
        assert message in said, path
        assert path.name in said
        assert "\n" not in said
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--every", "0"], "--every"),
        (["--threshold", "1.5"], "--threshold"),
        (["--size", "big"], "--size"),
        (["--device", "tpu9"], "--device"),
        (["--soft"], "folder"),
    ],
)
def test_options_that_cannot_work_are_named(checkpoint, tmp_path, capsys, options, message):
    clip = write(tmp_path / "clip.mp4", count=2)
    assert main(["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "over.mp4"), *options]) == 2
    assert message in capsys.readouterr().err


def test_what_is_there_is_not_overwritten_unasked(checkpoint, tmp_path, capsys):
    clip = write(tmp_path / "clip.mp4", count=2)
    command = ["predict", str(checkpoint), str(clip), "-o", str(tmp_path / "over.mp4")]
    assert main(command) == 0
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_an_interrupted_video_leaves_no_file(tmp_path):
    def interrupted():
        with VideoWriter(tmp_path / "v.mp4") as video:
            video.add(picture(0, 32, 32), Fraction(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_fails_while_drawing_comes_out_and_leaves_no_video(checkpoint, tmp_path, monkeypatch):
    clip = write(tmp_path / "clip.mp4", count=30)

    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("davis_exp.experiment.prediction._write", full)
    (sequence,) = open_input(clip)
    with pytest.raises(OSError, match="no space"):
        Predictor(checkpoint).write(sequence, Output(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_frames_are_decoded_once(checkpoint, tmp_path, monkeypatch):
    (sequence,) = open_input(write(tmp_path / "clip.mp4", count=40))
    asked = []
    frame = type(sequence).frame
    monkeypatch.setattr(type(sequence), "frame", lambda self, i: asked.append(i) or frame(self, i))
    Predictor(checkpoint).write(sequence, Output(tmp_path / "out"))
    assert asked[1:] == list(range(40))  # after the first, whose size was wanted


def test_the_model_sees_as_many_pixels_in_the_inputs_shape():
    assert same_pixels((192, 320), (480, 854)) == (192, 320)
    assert same_pixels((192, 320), (854, 480)) == (320, 192)
    assert same_pixels((192, 320), (90, 120)) == (96, 128)
    assert same_pixels(None, (90, 120)) is None


MEMORY = """
import resource, sys
from pathlib import Path
import torch
from davis_exp.data.sources.video import open_input
from davis_exp.experiment.prediction import Output, Predictor
torch.set_num_threads(1)
(sequence,) = open_input(Path(sys.argv[2]))
assert Predictor(Path(sys.argv[1])).write(sequence, Output(Path(sys.argv[3]))) == int(sys.argv[4])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_600_frames_take_the_memory_of_60(checkpoint, tmp_path):
    def peak(frames):
        clip = write(tmp_path / f"{frames}.mp4", count=frames, height=240, width=426)
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            MEMORY,
            checkpoint,
            clip,
            tmp_path / str(frames),
            str(frames),
        ]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(600) <= 1.1 * peak(60)


def names(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def test_masks_are_called_as_their_frames_are(checkpoint, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("0001", "0005", "0010", "x_11"):
        Image.fromarray(picture(0, 40, 56)).save(folder / f"{name}.jpg")
    command = ["predict", str(checkpoint), str(folder), "-o"]
    assert main([*command, str(tmp_path / "own"), "--cutout"]) == 0
    own = ["0001.png", "0005.png", "0010.png", "x_11.png"]
    assert names(tmp_path / "own/masks") == names(tmp_path / "own/cutout") == own
    assert main([*command, str(tmp_path / "half"), "--every", "2"]) == 0
    assert names(tmp_path / "half/masks") == ["0001.png", "0010.png"]
    assert main([*command, str(tmp_path / "numbered"), "--video-masks"]) == 0
    assert names(tmp_path / "numbered/masks") == [f"{i:05d}.png" for i in range(4)]


def test_masks_of_a_video_have_the_numbers_of_its_frames(checkpoint, tmp_path):
    clip = write(tmp_path / "clip.mp4", count=7)
    command = ["predict", str(checkpoint), str(clip), "--every", "3", "-o"]
    assert main([*command, str(tmp_path / "own")]) == 0
    assert names(tmp_path / "own/masks") == ["00000.png", "00003.png", "00006.png"]
    assert main([*command, str(tmp_path / "numbered"), "--video-masks"]) == 0
    assert names(tmp_path / "numbered/masks") == ["00000.png", "00001.png", "00002.png"]


def test_two_frames_of_one_name_are_not_written_over_each_other(checkpoint, tmp_path, capsys):
    (tmp_path / "frames").mkdir()
    for name in ("a.jpg", "a.png"):
        Image.fromarray(picture(0, 40, 56)).save(tmp_path / "frames" / name)
    command = ["predict", str(checkpoint), str(tmp_path / "frames"), "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "frames: two frames are called a" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--video-masks"]) == 0


def test_score_finds_what_predict_wrote(checkpoint, layouts, tmp_path, capsys):
    """Of a data set with several sequences, with frames' own names; and of one sequence, by its folder's name."""
    root = layouts["segtrack_v2"]
    assert main(["predict", str(checkpoint), str(root), "-o", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out/bmx/masks") == [f"bmx_{i:05d}.png" for i in range(4)]
    assert main(["score", str(tmp_path / "out"), str(root)]) == 0
    assert (
        main(
            [
                "predict",
                str(checkpoint),
                f"fbms:{layouts['fbms']}",
                "-o",
                str(tmp_path / "dogs01"),
                "--every",
                "4",
            ]
        )
        == 0
    )
    assert names(tmp_path / "dogs01/masks") == ["dogs01_0001.png", "dogs01_0005.png"]
    capsys.readouterr()
    assert main(["score", str(tmp_path / "dogs01"), str(layouts["fbms"])]) == 0, "all that have a true mask"
    assert "dogs01" in capsys.readouterr().out


def test_frames_to_check_by_hand_are_listed(checkpoint, tmp_path, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(5):
        shot = picture(i, 72, 120)
        if i == 3:
            shot[:] = 20  # nothing to be found
        Image.fromarray(shot).save(frames / f"{i:05d}.png")
    out = tmp_path / "out"
    assert main(["predict", str(checkpoint), str(frames), "-o", str(out), "--flag", "2"]) == 0
    said = capsys.readouterr().out.partition("to check by hand:\n")[2].split()
    assert said[0] == "frames/00003"
    assert said[2] == "0.00"
    kept = json.loads((out / "confidence.json").read_text())
    assert list(kept) == [f"frames/{i:05d}" for i in range(5)]
    assert min(kept, key=kept.get) == "frames/00003"
    assert main(["predict", str(checkpoint), str(frames), "-o", str(out), "--overwrite", "--flag", "-1"]) == 2
    assert main(["predict", str(checkpoint), str(frames), "-o", str(tmp_path / "o.mp4"), "--flag", "1"]) == 0
    assert "frames/00003" in capsys.readouterr().out
    assert not (tmp_path / "confidence.json").exists()
