"""confidence.json: written whole, read back, refused where it is something else."""

import json

import pytest

from davis_exp.runs import confidence
from davis_exp.utils.errors import BadInput


def test_what_is_written_is_read(tmp_path):
    values = {"=a/0": 0.5, "b, c/1": 0.123456, "d/2": 1.0}
    confidence.write(tmp_path, values)
    assert confidence.read(tmp_path) == pytest.approx(values, abs=1e-4)
    assert list(confidence.read(tmp_path)) == list(values)
    assert confidence.lowest(values, 2) == [("b, c/1", 0.123456), ("=a/0", 0.5)]
    assert confidence.said(values, 1) == ["b, c/1  confidence 0.12"]


def test_there_need_be_none(tmp_path):
    assert confidence.read(tmp_path) == {}


@pytest.mark.parametrize("content", [[], {"a/0": "high"}, {"a/0": 2}, {"a/0": None}, {"a/0": True}])
def test_what_is_none_is_refused(tmp_path, content):
    (tmp_path / confidence.CONFIDENCE).write_text(json.dumps(content))
    with pytest.raises(BadInput, match="confidence"):
        confidence.read(tmp_path)
