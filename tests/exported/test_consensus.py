"""Exported models that give their features too: inference.consensus goes on in another engine."""

import pytest

from davis_exp.cli import main
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.experiment import checkpoints
from davis_exp.experiment.exporting import Exporter
from davis_exp.exported.form import Form
from davis_exp.inference import Inference, predict
from davis_exp.utils.errors import BadInput
from tests.exported.conftest import checkpoint_of

PLAIN = ["data=generated", "data.size=[48,64]"]
PARTS = {
    "streaming": ["encoder=pixel", "decoder=pixel", "temporal=conv_gru"],
    "windows": ["encoder=efficientnet_lite0", "encoder.weights=null", "decoder=fpn_light", "temporal=none"],
}


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
@pytest.mark.parametrize("parts", list(PARTS))
def test_the_file_answers_as_the_checkpoint(parts, suffix, compose, tmp_path):
    if suffix == ".xml":
        pytest.importorskip("openvino", reason="openvino is not installed")
    (sequence,) = GeneratedSource(train=1, test=1, length=12, height=50, width=70).sequences("test")
    exporter = Exporter(checkpoint_of(compose(*PLAIN, *PARTS[parts], "inference.consensus=0.6")))
    exporter.write(tmp_path / f"model{suffix}")
    model = checkpoints.restore(checkpoints.read(tmp_path / f"model{suffix}"))
    found = exporter.compare(model, [sequence], 12)
    assert found.frames == 12
    assert found.probability <= 2e-3
    # and it does something: without it the answers are others
    ways = (exporter.how, Inference(size=exporter.how.size))
    with_it, without = ([mask for _, mask in predict(model, sequence, how)] for how in ways)
    assert max(abs(a.astype(int) - b).max() for a, b in zip(with_it, without, strict=True)) > 0


def test_a_file_without_features_says_what_to_do(exported, tmp_path, capsys):
    told = ["checkpoint=" + str(exported), "data=generated", "inference.consensus=0.5"]
    assert main(["test", *told, f"hydra.run.dir={tmp_path}"]) == 2
    assert "export it again with inference.consensus" in capsys.readouterr().err


def test_files_that_are_older_than_features_are_read():
    old = Form(None, False, 1, 8, ((1, "height/8"),)).plain()
    del old["features"]
    assert Form.of(old, "old.onnx").features == 0
    for wrong in (-1, True, 1.5, "16", 2**17, 16, 3):  # the last two are no part of a stride of 8
        with pytest.raises(BadInput, match="features"):
            Form.of({**old, "features": wrong}, "odd.onnx")
