import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from davis_exp.data import flow
from davis_exp.data.flow import DisFlow, RgbFlow
from davis_exp.data.sources import DavisSource
from davis_exp.data.sources.files import FileSequence
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.utils.errors import BadInput


class Frames:
    """Given frames as a sequence, its key the content's."""

    still = False

    def __init__(self, *frames):
        self.frames = frames
        self.key, self.size, self.name = (
            f"{hash(tuple(f.tobytes() for f in frames))}",
            frames[0].shape[:2],
            "s",
        )
        self.frame_ids = [f"s/{i}" for i in range(len(frames))]

    def __len__(self):
        return len(self.frames)

    def frame(self, i):
        return self.frames[i]

    def frame_file(self, i):
        return None


@pytest.fixture
def dis(tmp_path):
    return lambda **settings: DisFlow(cache=str(tmp_path / "flow"), **settings)


@pytest.fixture
def moved(davis_root):
    """Frames cut from a real one so that everything moves by the given (x, y) from each to the next."""
    frame = DavisSource(davis_root).sequences("train")[2].frame(0)

    def cut(x, y, length=3):
        places = [(60 - k * y, 100 - k * x) for k in range(length)]
        return Frames(*(frame[top : top + 240, left : left + 400].copy() for top, left in places))

    return cut


def entries(folder):
    return sorted(path for path in (folder / "flow").rglob("*") if path.is_file())


# ---- the vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(5, 0), (-3, 4), (0, -7), (0, 0)])
@pytest.mark.parametrize(("direction", "sign"), [("forward", 1), ("backward", -1)])
def test_a_moved_frame_has_that_flow_at_every_frame(dis, moved, shift, direction, sign):
    sequence = moved(*shift)
    for i in range(3):  # the one at the end too, which looks the other way
        vectors = dis(direction=direction).vectors(sequence, i)
        assert vectors.shape == (2, 120, 200)
        assert vectors.dtype == np.float32
        inside = 2 * vectors[:, 15:-15, 15:-15]  # pixels of the frame; what enters at the border is unknown
        errors = np.linalg.norm(inside - sign * np.array(shift)[:, None, None], axis=0)
        assert np.quantile(errors, 0.98) < 0.5
        assert errors.mean() < 0.15


@pytest.mark.parametrize("preset", ["ultrafast", "fast", "medium"])
def test_every_preset_finds_a_translation(dis, moved, preset):
    vectors = 2 * dis(preset=preset).vectors(moved(4, -2), 0)
    assert np.allclose(np.median(vectors, axis=(1, 2)), (4, -2), atol=0.2)


def test_large_frames_are_made_smaller_and_vectors_count_in_their_own_grid(dis, moved):
    vectors = dis(max_side=200).vectors(moved(6, -4), 0)
    assert vectors.shape == (2, 60, 100)
    assert np.allclose(np.median(vectors, axis=(1, 2)), (1.5, -1), atol=0.1)


@pytest.mark.parametrize("size", [(8, 12), (12, 200), (200, 12), (1, 1), (33, 47)])
@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_small_and_thin_frames_do_no_harm(dis, size, preset):
    rng = np.random.default_rng(0)
    sequence = Frames(*rng.integers(0, 256, (2, *size, 3), dtype=np.uint8))
    vectors = dis(preset=preset).vectors(sequence, 0)
    assert vectors.shape == (2, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert np.isfinite(vectors).all()


def test_is_kept_to_a_64th_of_a_pixel():
    y, x = np.mgrid[:61, :81].astype(np.float32)
    smooth = np.stack([40 * np.sin(x / 30), 3 + y / 10], axis=-1)
    kept = flow._vectors(flow._decode(flow._encode(flow._steps(smooth))))
    exact = flow.flow_geometry.resample(smooth.transpose(2, 0, 1), (31, 41))
    assert np.abs(kept - exact).max() <= 1 / 64
    wild = np.full((4, 4, 2), 1e6, np.float32)
    assert np.abs(flow._vectors(flow._steps(wild))).max() <= 1024


def test_stills_and_single_frames_have_no_motion(dis, moved):
    sequence = moved(3, 3)
    single = Frames(sequence.frame(0))
    assert dis().vectors(single, 0) is None
    sequence.still = True
    assert dis().vectors(sequence, 1) is None
    assert RgbFlow().vectors(moved(3, 3), 1) is None


def test_frames_of_two_sizes_are_refused(dis):
    with pytest.raises(BadInput, match="no flow between s/0 and s/1"):
        dis().vectors(Frames(np.zeros((100, 100, 3), np.uint8), np.zeros((100, 120, 3), np.uint8)), 0)


@pytest.mark.parametrize(
    ("key", "value"), [("preset", "slow"), ("direction", "both"), ("max_side", 10), ("direction", None)]
)
def test_impossible_settings_name_their_key(dis, key, value):
    with pytest.raises(BadInput, match=rf"flow\.{key} "):
        dis(**{key: value})


# ---- what is kept -----------------------------------------------------------------------------------


@pytest.fixture
def files(davis_root, tmp_path):
    """Three real frames as files of the test's own."""
    frames = DavisSource(davis_root).sequences("train")[0].frames[:3]
    (tmp_path / "data").mkdir()
    copies = [Path(shutil.copy(frame, tmp_path / "data" / frame.name)) for frame in frames]
    return lambda: FileSequence("a", "a", copies, None)


def test_hit_equals_miss(dis, files, tmp_path, monkeypatch):
    missed = [dis().vectors(files(), i) for i in range(3)]
    assert len(entries(tmp_path)) == 3
    monkeypatch.setattr(DisFlow, "_compute", None)  # not called again
    for i, vectors in enumerate(missed):
        assert np.array_equal(dis().vectors(files(), i), vectors)


def test_what_is_not_kept_is_the_same(dis, files, tmp_path, monkeypatch):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path))
    unkept = DisFlow(cache=False)
    unkept.prepare([files()])
    found = [unkept.vectors(files(), i) for i in range(3)]
    assert entries(tmp_path) == []
    for i, vectors in enumerate(found):
        assert np.array_equal(dis().vectors(files(), i), vectors)


def test_flow_object_reuse_leaves_no_trace(dis, files, davis_root, tmp_path):
    alone = dis().vectors(files(), 0)
    shutil.rmtree(tmp_path / "flow")
    other = DavisSource(davis_root).sequences("train")[5]
    dis().vectors(other, 0)
    assert np.array_equal(dis().vectors(files(), 0), alone)


def test_keyed_by_content_and_settings_not_by_place(dis, files, tmp_path):
    dis().vectors(files(), 0)
    assert len(entries(tmp_path)) == 1
    moved = shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    paths = sorted(moved.iterdir())
    elsewhere = FileSequence("b", "b", paths, None, 7)
    dis().vectors(elsewhere, 0)
    assert len(entries(tmp_path)) == 1
    dis(preset="fast").vectors(elsewhere, 0)
    dis(max_side=320).vectors(elsewhere, 0)
    assert len(entries(tmp_path)) == 3
    dis(direction="backward").vectors(elsewhere, 1)  # 1 → 0: another pair
    dis(direction="backward").vectors(elsewhere, 0)  # 0 → 1: known
    assert len(entries(tmp_path)) == 4
    shutil.copy(paths[2], paths[1])
    dis().vectors(elsewhere, 0)
    assert len(entries(tmp_path)) == 5


def test_generated_clips_are_keyed_by_their_settings(dis, tmp_path):
    for settings in ({}, {"seed": 1}, {"height": 34}):
        source = GeneratedSource(train=2, length=3, **({"height": 32, "width": 48} | settings))
        for _ in range(2):
            for sequence in source.sequences("train"):
                dis().vectors(sequence, 0)
    assert len(entries(tmp_path)) == 6


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_entry_is_made_again(dis, files, tmp_path, damage):
    whole = dis().vectors(files(), 0)
    (entry,) = entries(tmp_path)
    content = entry.read_bytes()
    entry.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert np.array_equal(dis().vectors(files(), 0), whole)
    assert entry.read_bytes() == content


def test_a_missing_frame_is_named(dis, files, tmp_path):
    sequence = files()
    sequence.frames[1].unlink()
    with pytest.raises(BadInput, match=r"00001\.jpg is missing"):
        dis().vectors(sequence, 0)


@pytest.mark.parametrize(
    ("length", "gap", "times"),
    [
        (4, 1, [1, 1, 1, 1]),
        (4, -1, [-1, -1, -1, -1]),
        (5, 2, [2, 2, 2, 2, 2]),  # the last two look the other way
        (5, -2, [-2, -2, -2, -2, -2]),
        (4, 3, [3, 2, 1, 3]),  # from those between no frame is three away: as far as it goes
        (2, -4, [-1, -1]),
    ],
)
def test_a_gap_leads_to_a_later_or_an_earlier_frame(dis, moved, length, gap, times):
    sequence = moved(3, -2, length)
    for i, far in enumerate(times):
        vectors = 2 * dis().vectors(sequence, i, gap)
        assert np.allclose(np.median(vectors, axis=(1, 2)), (3 * far, -2 * far), atol=0.3)


def test_prepare_makes_every_gap_once(dis, files, tmp_path):
    dis().prepare([files()], (1, -2))  # 0 → 1, 1 → 2, 2 → 1; 0 → 2, 1 → 0, 2 → 0
    assert len(entries(tmp_path)) == 6
    kept = {entry.name for entry in entries(tmp_path)}
    for i in range(3):
        for gap in (1, -2):
            dis().vectors(files(), i, gap)
    assert {entry.name for entry in entries(tmp_path)} == kept


def test_prepare_makes_what_is_missing_once(dis, files, moved, tmp_path, caplog, capsys):
    still = moved(1, 1)
    still.still = True
    expected = dis().vectors(files(), 1)
    with caplog.at_level(logging.INFO):
        dis().prepare([files(), still, Frames(still.frame(0))])
        dis().prepare([files(), still])
    assert [r.getMessage().split(",")[0] for r in caplog.records] == ["computing 2 fields of optical flow"]
    assert len(entries(tmp_path)) == 3
    assert np.array_equal(dis().vectors(files(), 1), expected)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""  # no bar where there is no terminal


def test_two_processes_build_at_once_and_one_is_killed(tmp_path):
    script = (
        "import sys\n"
        "from davis_exp.data.flow import DisFlow\n"
        "from davis_exp.data.sources.generated import GeneratedSource\n"
        "sequences = GeneratedSource(train=2, length=30, height=64, width=96).sequences('train')\n"
        "print('go', flush=True)\n"
        "DisFlow(cache=sys.argv[1]).prepare(sequences)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "flow")]
    doomed, other = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    doomed.stdout.readline()
    while not entries(tmp_path) and doomed.poll() is None:
        pass
    doomed.kill()
    assert other.communicate(timeout=120) == ("go\n", None)
    doomed.communicate(timeout=10)
    assert other.returncode == 0
    whole = [path for path in entries(tmp_path) if not path.name.startswith(".")]
    assert len(whole) == 60
    sequences = GeneratedSource(train=2, length=30, height=64, width=96).sequences("train")
    kept, fresh = DisFlow(cache=str(tmp_path / "flow")), DisFlow(cache=str(tmp_path / "fresh"))
    for sequence in sequences:
        for i in range(0, 30, 4):
            assert np.array_equal(kept.vectors(sequence, i), fresh.vectors(sequence, i))


def test_a_cache_that_cannot_be_written_only_costs_time(files, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    dis = DisFlow(cache=str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(dis.vectors(files(), 0), dis.vectors(files(), 0))
    assert len(caplog.records) == 1
