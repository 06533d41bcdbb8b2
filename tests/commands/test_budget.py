"""`davis-exp budget` of one composition: its layers as table, JSON, CSV and picture; limits; what it refuses."""

import csv
import json
import logging
import xml.etree.ElementTree as ET

import pytest

from davis_exp.budget import speed
from davis_exp.commands import budget as command
from davis_exp.experiment import calibration
from davis_exp.utils.errors import BadInput, OverBudget


@pytest.fixture
def cfg(compose):
    parts = ("encoder=pixel", "decoder=pixel", "temporal=conv_gru", "temporal.width=4")
    return lambda *overrides: compose(*parts, *overrides, config="budget")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    speed.load.cache_clear()
    yield
    speed.load.cache_clear()


@pytest.fixture
def quick(monkeypatch):
    """A machine that is measured in no time."""
    monkeypatch.setattr(
        calibration,
        "COMPOSITIONS",
        [((32, 48), ("encoder=pixel", "decoder=pixel", f"seed={i}")) for i in range(3)],
    )


def test_layers_are_told_in_every_form(cfg, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    files = {
        form: str(tmp_path / f"a.{end}") for form, end in (("json", "json"), ("csv", "csv"), ("plot", "svg"))
    }
    assert command.run(cfg(), tmp_path, layers=True, **files) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    layers = {layer["name"]: layer for layer in content["layers"]}
    assert sum(layer["parameters"] for layer in layers.values()) == content["parameters"]
    assert sum(layer["flops"] for layer in layers.values()) == content["flops"]
    assert sum(layer["multiply_adds"] for layer in layers.values()) == content["flops"] / 2
    assert max(layer["activations"] for layer in layers.values()) == content["activations"]
    assert layers["decoder.readouts.0"]["part"] == "decoder"
    assert content["state"] == 4 * 4 * 480 * 854
    assert (content["limit"], content["max_ms"], content["over"]) == (50_000_000, None, False)
    with (tmp_path / "a.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == list(layers)
    picture = ET.parse(tmp_path / "a.svg").getroot()
    assert len(picture.findall(".//{*}rect")) == 2 * len(layers)
    assert "decoder.readouts.0" in caplog.text
    assert "this machine was not measured yet (davis-exp budget --measure)" in caplog.text
    assert max(map(len, caplog.messages[0].partition("\n\n")[0].splitlines())) <= 100
    assert "ms" not in content["layers"][0]


def test_measured_once_times_are_foretold_from_then_on(cfg, quick, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert command.run(cfg(), tmp_path, json=str(tmp_path / "a.json"), measure=True) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["machine"] == speed.machine()
    assert sum(layer["ms"] for layer in content["layers"]) == pytest.approx(content["ms"])
    assert 0 < sum(layer["measured_ms"] for layer in content["layers"]) < 3 * content["measured_ms"]
    assert f"measured and kept: {speed.path()}" in caplog.text
    assert command.run(cfg(), tmp_path, json=str(tmp_path / "b.json"), layers=True) == 0
    again = json.loads((tmp_path / "b.json").read_text())
    assert again["ms"] == content["ms"]
    assert "measured_ms" not in again
    with pytest.raises(
        OverBudget, match=r"ms a frame, as foretold for this machine, budget\.max_ms is 0\.001"
    ):
        command.run(cfg("budget.max_ms=0.001"), tmp_path)


def test_what_is_over_is_written_and_shown_all_the_same(cfg, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(
        OverBudget, match=r"^over budget with [\d,]{7,} FLOPs a frame, budget\.max_flops is 1,000$"
    ):
        command.run(cfg("budget.max_flops=1e3"), tmp_path, json=str(tmp_path / "a.json"), layers=True)
    assert json.loads((tmp_path / "a.json").read_text())["over"] is True
    assert "decoder.readouts.0" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "options", "line"),
    [
        ((), {"csv": "a.csv"}, r"^--csv a\.csv: needs layers, .* add --layers, or -m"),
        ((), {"plot": "a.svg"}, r"^--plot a\.svg: needs layers"),
        ((), {"plot": "a.png", "layers": True}, r"^--plot a\.png: the picture is an SVG"),
        (
            ("budget.max_ms=-1",),
            {},
            r"^budget\.max_ms: must be a number of at least 0, or null for any, got -1",
        ),
        (("budget.max_flops=-1e9",), {}, r"^budget\.max_flops: must be a number of at least 0"),
        (
            ("budget.max_activation_mb=.nan",),
            {},
            r"^budget\.max_activation_mb: must be a number of at least 0",
        ),
        (("budget.max_ms=5",), {}, r"how fast this machine is was not measured yet"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(cfg, tmp_path, overrides, options, line):
    with pytest.raises(BadInput, match=line) as refused:
        command.run(cfg(*overrides), tmp_path, **options)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("switch", ["layers", "measure"])
def test_layers_are_of_one_composition(switch):
    with pytest.raises(BadInput, match=f"^--{switch}: of one composition; leave out -m"):
        command.run_all([], lambda overrides: None, **{switch: True})
