"""What somebody gave us is read within limits, or refused in one line."""

import json
import os

import pytest

from davis_exp.utils import given
from davis_exp.utils.errors import BadInput


@pytest.mark.timeout(20)
def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, what in (("pipe", "named pipe"), ("zero", "device"), (".", "folder"), ("none", "there is no")):
        with pytest.raises(BadInput, match=what):
            given.read_text(tmp_path / name)
    with pytest.raises(BadInput, match="cannot be a file's name"):
        given.read_text(tmp_path / "a\0b")


def test_size_is_looked_at_before_reading(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(BadInput, match="larger than 1,000 bytes"):
        given.read_bytes(tmp_path / "sparse", 1000)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested more than"),
        ("[" * 100 + "]" * 100, "nested more than"),
        ("9" * 5000, "JSON|64 bits"),
        (str(2**63), "64 bits"),
        ('"\\ud800"', "surrogate"),
        ('{"a": "\\udfff"}', "surrogate"),
        ("{nope", "not JSON"),
    ],
)
def test_json_is_bounded(tmp_path, text, why):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput, match=why) as refused:
        given.read_json(tmp_path / "a.json")
    assert "\n" not in str(refused.value)
    str(refused.value).encode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &a [1]\nb: *a", "aliases"),
        ("!!python/object/apply:os.system ['touch x']", "not plain YAML"),
        ("a: 2020-01-01", "date"),
        ("1: 2", "for a key"),
        ("[" * 5000, "nested|not plain"),
        ("a: !!set {1}", "set"),
    ],
)
def test_yaml_is_plain(tmp_path, text, why):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(BadInput, match=why):
        given.read_yaml(tmp_path / "a.yaml")


def test_what_is_fine_is_read_as_it_is(tmp_path):
    content = {"a": [1, 2.5, None, True, "ü"], "b": {"c": {}}}
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(content, ensure_ascii=False))
    assert given.read_json(tmp_path / "a.json") == content
    assert given.read_yaml(tmp_path / "a.json") == content


def test_values_are_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(given, "ITEMS", 1000)
    assert given.parse_json("[" + "0," * 900 + "0]", "x") == [0] * 901
    with pytest.raises(BadInput, match=r"x: more than 1,000 values"):
        given.parse_json("[" + "0," * 1000 + "0]", "x")
    monkeypatch.setattr(given, "LINES", 3)
    (tmp_path / "list").write_text("a\n\nb\n")
    assert given.read_lines(tmp_path / "list") == ["a", "", "b"]
    (tmp_path / "list").write_text("a\n" * 4)
    with pytest.raises(BadInput, match="more than 3 lines"):
        given.read_lines(tmp_path / "list")


def test_numbers_are_finite_and_no_truth_values():
    assert given.number(1.5, 0, 2)
    assert not any(given.number(value, 0, 2) for value in (True, float("nan"), float("inf"), 3, "1", None))
