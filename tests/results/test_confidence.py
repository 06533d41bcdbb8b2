"""Confidence of results, and what it says of their J."""

import re
import shutil

import numpy as np
import pytest

from davis_exp.cli import main
from davis_exp.inference.confidence import ConfidenceMeter
from davis_exp.results.artifact import Results
from davis_exp.results.confidence import confidences, foretold


def blurred(mask, index):
    """Vaguer with each frame."""
    return np.where(mask > 0, 1 - 0.05 * index, 0.05 * index).astype(np.float32)


def test_every_frame_has_the_confidence_that_a_meter_gives_it(make_results, sequences):
    results = Results.open(make_results(blurred))
    seen = []
    found = confidences(results, sequences, progress=lambda *done: seen.append(done))
    assert list(found) == [frame for sequence in sequences for frame in sequence.frame_ids]
    assert sorted(seen) == [(i + 1, len(found)) for i in range(len(found))]
    meter = ConfidenceMeter()
    for i, index in enumerate(sequences[0].index):
        meter.add(sequences[0].frame(i), results.confidence(index))
    assert list(found.values())[: len(sequences[0])] == meter.values()
    first = found[sequences[0].frame_ids[0]], found[sequences[0].frame_ids[-1]]
    assert first[0] > first[1]


def test_frames_that_the_results_lack_are_left_out(make_results, sequences):
    results = Results.open(make_results(blurred))
    indices = {index: index for index in sequences[0].index[1:]}
    assert list(confidences(results, sequences, indices)) == list(sequences[0].frame_ids[1:])


def test_the_correlation_is_over_the_frames_that_have_both():
    score = {"sequences": {"a": {"frames": ["a/0", "a/1", "a/2"], "raw": {"J": [0.9, 0.5, 0.1]}}}}
    said = foretold({"a/0": 0.8, "a/1": 0.4, "a/2": 0.6, "b/0": 0.1}, score)
    assert said == "confidence: Spearman correlation with J over 3 frames 0.50"
    assert foretold({}, score) is None
    assert foretold(dict.fromkeys(["a/0", "a/1"], 0.5), score) is None


def worse(mask, index):
    """Vaguer and further from the truth with each frame."""
    return np.roll(blurred(mask, index), index, axis=1)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_page_of_results_shows_it(make_results, truth, tmp_path, labelled):
    """With truth beside the scores; without it instead of them, the least certain first."""
    data = tmp_path / "data"
    shutil.copytree(truth, data)
    if not labelled:
        shutil.rmtree(data / "Annotations")
        listed = data / "ImageSets/480p/val.txt"
        listed.write_text(re.sub(r" \S+$", "", listed.read_text(), flags=re.MULTILINE))
    page = tmp_path / "page.html"
    assert main(["report", str(make_results(worse)), "--truth", str(data), "-o", str(page)]) == 0
    text = page.read_text()
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["bus", "swan"]
    assert ("Where to look" in text) is not labelled
    assert ("Spearman correlation with J over 9 frames" in text) is labelled
    assert "confidence" in text
    assert ('value="errors"' in text) is labelled
