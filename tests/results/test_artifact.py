"""Writing results and reading them back."""

import json
import shutil
import threading

import cv2
import numpy as np
import pytest

from davis_exp.results import writer
from davis_exp.results.artifact import Results, ResultsWriter, to_confidence
from davis_exp.utils.errors import BadInput


def test_what_is_written_is_what_the_contract_says(tmp_path):
    maps = {0: np.full((4, 6), 0.25), 10: np.zeros((4, 6)), 2: np.ones((4, 6), np.float16)}
    out = ResultsWriter(tmp_path / "r")
    for index, confidence in maps.items():
        out.add(index, confidence, f"clip/{index:05d}")
    assert not (tmp_path / "r").exists()
    folder = out.close({"nparams": 7})
    paths = json.loads((folder / "paths.json").read_text())
    assert list(paths["output"]) == ["0", "2", "10"]  # by number, not by text
    assert paths["output"]["10"] == "outputs/00010.png"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata == {"nparams": 7, "frames": ["clip/00000", "clip/00002", "clip/00010"]}
    image = cv2.imread(str(folder / "outputs/00000.png"), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint8
    assert image.shape == (4, 6)
    assert np.all(image == 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]  # no temporary folder stays

    results = Results.open(folder)
    assert list(results.paths) == [0, 2, 10]
    assert results.frames == ["clip/00000", "clip/00002", "clip/00010"]
    assert results.metadata["nparams"] == 7
    assert np.all(results.confidence(2) == 255)


def test_floats_are_rounded_and_clipped_and_left_alone():
    values = np.array([[0.0, 0.498, 0.5, 1.0, -3.0, 7.0, np.inf]])
    before = values.copy()
    assert to_confidence(values).tolist() == [[0, 127, 128, 255, 0, 255, 255]]
    assert np.array_equal(values, before)
    assert to_confidence(np.array([[True, False]])).tolist() == [[255, 0]]


def test_bytes_are_copied(tmp_path):
    buffer = np.full((8, 8), 9, np.uint8)
    out = ResultsWriter(tmp_path / "r", threads=1)
    for index in range(20):
        buffer[:] = index
        out.add(index, buffer, f"a/{index:05d}")
    results = Results.open(out.close({"nparams": 1}))
    assert [int(results.confidence(i)[0, 0]) for i in range(20)] == list(range(20))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((2, 2), np.nan), "clip/00003: a confidence map holds NaN"),
        (np.zeros((1, 2, 2)), r"is \(H, W\)"),
        (np.zeros((2, 2), np.int64), "not int64"),
    ],
)
def test_broken_maps_are_refused(tmp_path, bad, message):
    out = ResultsWriter(tmp_path / "r")
    with pytest.raises(BadInput, match=message):
        out.add(3, bad, "clip/00003")
    out.abort()
    assert list(tmp_path.iterdir()) == []


def test_an_index_is_written_once(tmp_path):
    with ResultsWriter(tmp_path / "r") as out:
        out.add(1, np.zeros((2, 2)), "a/0")
        with pytest.raises(BadInput, match=r"index 1 \(a/1\) was added twice"):
            out.add(1, np.zeros((2, 2)), "a/1")
        assert list(out.close({"nparams": 1}).joinpath("outputs").iterdir()) == [
            tmp_path / "r/outputs/00001.png"
        ]


def interrupted(folder):
    with ResultsWriter(folder) as out:
        out.add(1, np.zeros((2, 2)), "a/0")
        raise KeyboardInterrupt


def test_several_processes_write_into_one_folder(tmp_path):
    first = ResultsWriter(tmp_path / "r")
    second = ResultsWriter(tmp_path / "r", part=first.part)
    first.add(2, np.ones((4, 6)), "b/00000")
    second.add(0, np.zeros((4, 6)), "a/00000")
    second.add(1, np.ones((4, 6)), "a/00001")
    assert second.written() == {0: "a/00000", 1: "a/00001"}
    first.include(second.written())
    with pytest.raises(BadInput, match=r"index 0 .* twice"):
        first.include({0: "a/00000"})
    results = Results.open(first.close({"nparams": 1}))
    assert results.frames == ["a/00000", "a/00001", "b/00000"]
    assert [results.confidence(i).max() for i in range(3)] == [0, 255, 255]
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_only_the_first_throws_the_folder_away(tmp_path):
    first = ResultsWriter(tmp_path / "r")
    ResultsWriter(tmp_path / "r", part=first.part).abort()
    assert first.part.is_dir()
    first.abort()
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_older_results_are_replaced_whole(tmp_path, results, make_results):
    stale = results / "outputs" / "00099.png"
    shutil.copy(results / "outputs" / "00000.png", stale)
    make_results(lambda mask, index: mask.astype(float))
    assert not stale.exists()
    assert np.array_equal(Results.open(results).confidence(0) > 0, Results.open(results).confidence(0) == 255)


def test_older_results_stay_when_writing_fails(results, monkeypatch):
    def full(image):
        raise OSError("No space left on device")

    before = sorted(path.name for path in results.parent.iterdir())
    monkeypatch.setattr(writer.png, "encode", full)
    out = ResultsWriter(results)
    out.add(0, np.zeros((2, 2)), "a/0")
    with pytest.raises(OSError, match="No space"):
        out.close({"nparams": 1})
    assert len(Results.open(results).paths) == 9
    assert sorted(path.name for path in results.parent.iterdir()) == before


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(BadInput, match="refusing to replace"):
        ResultsWriter(tmp_path / "thesis")
    ResultsWriter(tmp_path / "thesis" / "results").abort()


def test_adding_waits_for_slow_disks(tmp_path, monkeypatch):
    release, written = threading.Event(), []

    def slow(path, image):
        release.wait(10)
        written.append(path)

    monkeypatch.setattr(ResultsWriter, "_write", staticmethod(slow))
    out = ResultsWriter(tmp_path / "r", threads=1)
    frames = iter(range(100))
    feeder = threading.Thread(target=lambda: [out.add(i, np.zeros((2, 2)), f"a/{i}") for i in frames])
    feeder.start()
    feeder.join(0.3)
    assert feeder.is_alive()  # the queue is bounded
    assert next(frames) < 10
    release.set()
    feeder.join(10)
    assert not feeder.is_alive()
    out.abort()
