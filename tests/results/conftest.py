"""A small data set in DAVIS layout, and results for it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from davis_exp.data.sources import open_source
from davis_exp.results.artifact import ResultsWriter

CLIPS = {"swan": 5, "bus": 4}  # in this order, which is not the alphabet's
SIZE = (48, 70)


def true_mask(number):
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (20 + 3 * number, 24), 9 + number, 255, -1)
    return mask


@pytest.fixture(scope="session")
def truth(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("davis")
    listed, number = [], 0
    for name, frames in CLIPS.items():
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / name).mkdir(parents=True)
        for i in range(frames):
            image, mask = f"JPEGImages/480p/{name}/{i:05d}.jpg", f"Annotations/480p/{name}/{i:05d}.png"
            assert cv2.imwrite(str(root / image), np.full((*SIZE, 3), 90, np.uint8))
            assert cv2.imwrite(str(root / mask), true_mask(number))
            listed.append(f"/{image} /{mask}")
            number += 1
    (root / "ImageSets" / "480p").mkdir(parents=True)
    (root / "ImageSets" / "480p" / "val.txt").write_text("\n".join(listed) + "\n")
    return root


@pytest.fixture(scope="session")
def sequences(truth):
    return open_source(truth).sequences("test")


def write_results(folder, sequences, predict, **metadata):
    """Results of `predict(true mask in {0, 1}, index) -> confidence map`."""
    with ResultsWriter(folder) as writer:
        for sequence in sequences:
            for i, index in enumerate(sequence.index):
                writer.add(index, predict(sequence.mask(i), index), sequence.frame_ids[i])
        writer.close({"nparams": 1000, **metadata})
    return folder


@pytest.fixture
def make_results(tmp_path, sequences):
    def make(
        predict=lambda mask, index: np.roll(mask, 2, axis=1).astype(np.float32), name="results", **metadata
    ):
        return write_results(tmp_path / name, sequences, predict, **metadata)

    return make


@pytest.fixture
def results(make_results) -> Path:
    return make_results()
