"""The table of engines: every one measured, or what it lacks said."""

import json

import numpy as np
import torch

from davis_exp import cli
from davis_exp.data.export import write_davis
from davis_exp.data.sources.generated import GeneratedSource


def test_each_engine_has_a_row(exporter, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.nn.Module.compile", lambda self: None)  # its compiler takes a minute
    np.ones(1_500_000_000, np.uint8)  # what this process has taken is none of the others' memory
    state = {f"model.{key}": value for key, value in exporter.model.state_dict().items()}
    torch.save({"config": exporter.told["config"], "state_dict": state}, tmp_path / "x.ckpt")
    source = GeneratedSource(train=2, test=1, length=4, height=48, width=64)
    write_davis({"train": source.sequences("train"), "val": source.sequences("test")}, tmp_path / "data")
    words = [
        "--data",
        str(tmp_path / "data"),
        "--frames",
        "4",
        "--rounds",
        "1",
        "--json",
        str(tmp_path / "x.json"),
    ]
    assert cli.main(["benchmark", str(tmp_path / "x.ckpt"), *words]) == 0
    rows = {row["engine"]: row for row in json.loads((tmp_path / "x.json").read_text())["rows"]}
    assert list(rows) == [
        "eager",
        "compiled",
        "ONNX Runtime fp32",
        "ONNX Runtime int8",
        "OpenVINO fp32",
        "OpenVINO int8",
    ]
    assert rows["eager"]["times"] == 1
    for engine in ("eager", "ONNX Runtime fp32", "ONNX Runtime int8"):
        row = rows[engine]
        assert row["note"] is None
        assert all(row[key] > 0 for key in ("ms", "times", "fps", "memory_mb", "file_mb"))
        assert row["memory_mb"] < 1200
        assert 0 <= row["score"] <= 1
    assert abs(rows["eager"]["score"] - rows["ONNX Runtime fp32"]["score"]) < 1e-4
    assert capsys.readouterr().out.splitlines()[0].split()[:3] == ["engine", "ms", "a"]


def test_what_cannot_be_measured_is_refused(capsys):
    assert cli.main(["benchmark", "zoo/zoo_mobile", "--rounds", "0"]) == 2
    assert "--rounds" in capsys.readouterr().err
