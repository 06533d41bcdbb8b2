from pathlib import Path

import pytest

from davis_exp.runs import config
from davis_exp.utils.errors import BadInput


def test_what_a_run_was_composed_with(tmp_path):
    assert config.read(tmp_path) is None
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text("seed: 1\nname: ${oc.env:HOME}\n")
    assert config.read(tmp_path) == config.Composed(
        {"seed": 1, "name": "${oc.env:HOME}"}, "seed: 1\nname: ${oc.env:HOME}\n", [], {}, Path()
    )
    (tmp_path / ".hydra/overrides.yaml").write_text("- seed=1\n")
    (tmp_path / ".hydra/hydra.yaml").write_text(
        "hydra: {runtime: {cwd: /a, choices: {encoder: pixel, logger: null}}}"
    )
    found = config.read(tmp_path)
    assert (found.overrides, found.directory) == (["seed=1"], Path("/a"))
    assert found.choices == {"encoder": "pixel", "logger": "None"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config", "[1]"),
        ("config", "a: &x [1]\nb: *x"),
        ("overrides", "{a: 1}"),
        ("overrides", "[1]"),
        ("hydra", "hydra: {runtime: {choices: [1]}}"),
        ("hydra", "hydra: {runtime: [1]}"),
        ("hydra", "hydra: {runtime: {cwd: 3}}"),
        ("hydra", "7"),
    ],
)
def test_what_hydra_has_not_written_is_refused(tmp_path, name, text):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text("seed: 1")
    (tmp_path / f".hydra/{name}.yaml").write_text(text)
    with pytest.raises(BadInput):
        config.read(tmp_path)
