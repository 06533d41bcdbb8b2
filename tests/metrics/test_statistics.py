"""Mean, recall and decay against the published values of two methods."""

import json

import numpy as np
import pytest

from davis_exp.metrics.statistics import average, statistics


def test_every_published_statistic_is_reproduced(shared):
    file = shared / "reference" / "davis2016_val_official_scores.json"
    if not file.is_file():
        pytest.skip(f"no reference scores at {file}")
    compared = 0
    for measures in json.loads(file.read_text()).values():
        for sequences in measures.values():
            for name, stored in sequences.items():
                own = statistics(stored["raw"])
                for key in ("mean", "recall", "decay"):
                    assert getattr(own, key) == pytest.approx(stored[key], abs=1e-5), (name, key)
                    compared += 1
    assert compared == 2 * 2 * 20 * 3


def test_published_means_over_the_data_set(shared):
    file = shared / "reference" / "davis2016_val_official_scores.json"
    if not file.is_file():
        pytest.skip(f"no reference scores at {file}")
    published = {
        "osvos": ((0.798, 0.936, 0.149), (0.806, 0.926, 0.150)),
        "fst": ((0.558, 0.649, 0.000), (0.511, 0.516, 0.029)),
    }
    content = json.loads(file.read_text())
    for method, expected in published.items():
        for measure, values in zip("JF", expected, strict=True):
            own = [statistics(sequence["raw"]) for sequence in content[method][measure].values()]
            assert [average(column) for column in zip(*own, strict=True)] == pytest.approx(values, abs=6e-4)


def plain_decay(values):
    """Bins of a quarter each, both ends included, borders rounded half up: written out with lists."""
    last = len(values) - 1
    border = [int(np.floor(k * last / 4 + 0.5 + 1e-10)) for k in range(5)]
    return np.mean(values[: border[1] + 1]) - np.mean(values[border[3] : last + 1])


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7, 103, 256, 257, 300, 1000])
def test_decay_at_any_length(frames):
    values = list(np.random.default_rng(frames).random(frames))
    assert statistics(values).decay == pytest.approx(plain_decay(values), abs=1e-12)


def test_decay_of_a_long_sequence_uses_its_end():
    # in uint8 the last borders of 1000 frames would wrap to the beginning
    assert statistics([1.0] * 500 + [0.0] * 500).decay == 1.0


def test_recall_is_strict():
    assert statistics([0.5, 0.5, 0.51, 0.2]).recall == 0.25


def test_no_frames_no_statistics():
    assert statistics([]) == (None, None, None)
    assert average([None, None]) is None
    assert average([None, 0.25, 0.75]) == 0.5
