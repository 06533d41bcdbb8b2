"""ONNX files as they are given to us: read, or refused in a line before an engine sees them."""

import json
import resource
import sys
import time

import numpy as np
import pytest
import torch

from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.experiment import checkpoints
from davis_exp.experiment.prediction import Predictor
from davis_exp.exported import onnx_file
from davis_exp.utils.errors import BadInput

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'davis_exp[export]'")


def changed(exported, tmp_path, change):
    model = onnx.load(exported)
    change(model)
    path = tmp_path / "changed.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_step_carries_its_state_as_the_checkpoint_does(exporter, exported):
    (sequence,) = GeneratedSource(train=1, test=1, length=60, height=48, width=64).sequences("test")
    found = exporter.compare(checkpoints.restore(checkpoints.read(exported)), [sequence], 60)
    assert found.frames == 60
    assert found.probability <= 1e-3
    assert found.scores is not None
    assert found.scores[0] == pytest.approx(found.scores[1], abs=1e-4)


def test_the_file_is_a_checkpoint_to_python(exported):
    frames = [np.full((40, 70, 3), value, np.uint8) for value in (0, 90, 250)]
    predictor = Predictor(exported)
    answers = list(predictor(frames))
    assert [confidence.shape for _, confidence in answers] == [(40, 70)] * 3
    assert "on cpu" in repr(predictor)
    with pytest.raises(BadInput, match="runs on the CPU"):
        Predictor(exported, device="cuda")


def test_a_graph_cannot_be_trained_or_exported_again(exported, tmp_path):
    with pytest.raises(BadInput, match="cannot be trained"):
        checkpoints.weights(exported)
    from davis_exp.cli import main

    assert main(["export", str(exported), "-o", str(tmp_path / "x.safetensors")]) == 2
    assert main(["export", str(exported), "-o", str(tmp_path / "x.onnx")]) == 2


def test_a_graph_of_more_weights_than_its_model_is_refused(exported, exporter):
    checkpoint = checkpoints.read(exported)
    own = sum(value.numel() for value in exporter.model.state_dict().values())
    checkpoints.check_counted(checkpoint, own)
    checkpoint["exported"].weights = own + 1_000_000
    with pytest.raises(BadInput, match="holds 1,"):
        checkpoints.check_counted(checkpoint, own)


def test_without_the_packages_one_line_says_how_to_install_them(exported, tmp_path, monkeypatch, capsys):
    from davis_exp.cli import main

    for package in ("onnx", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    for suffix, package in ((".onnx", "onnx"), (".xml", "openvino")):
        assert main(["export", "zoo/zoo_mobile", "-o", str(tmp_path / f"x{suffix}")]) == 2
        said = capsys.readouterr().err
        assert said == f"davis-exp: {package} is not installed; pip install 'davis_exp[export]'\n"
    with pytest.raises(BadInput, match=r"davis_exp\[export\]"):
        checkpoints.read(exported)


def test_what_the_command_refuses(tmp_path, capsys):
    from davis_exp.cli import main

    for words, said in (
        (["-o", "x.tflite"], "must end in"),
        (["-o", "x.pt2", "--precision", "fp16"], "has its own"),
        (["-o", "x.onnx", "--precision", "int8"], "--data"),
    ):
        assert main(["export", "zoo/zoo_mobile", *words]) == 2
        assert said in capsys.readouterr().err


def test_a_checkpoint_cannot_bring_a_graph(exporter, tmp_path):
    state = {f"model.{key}": value for key, value in exporter.model.state_dict().items()}
    torch.save({"config": exporter.told["config"], "state_dict": state, "exported": "x"}, tmp_path / "x.ckpt")
    assert "exported" not in checkpoints.read(tmp_path / "x.ckpt")


def external(place):
    def change(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", place

    return change


def foreign_operator(model):
    model.graph.node[0].domain = "com.evil"


def loop(model):
    model.graph.node.add(op_type="Loop", name="loop").attribute.add(name="body", type=5).g.name = "body"


def function(model):
    model.functions.add(name="f", domain="local")


def huge_kernel(model):
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    next(one for one in node.attribute if one.name == "pads").ints[0] = 2**30


def other_inputs(model):
    model.graph.input[0].name = "pictures"


def told(**changes):
    def change(model):
        entry = next(one for one in model.metadata_props if one.key == onnx_file.KEY)
        stored = json.loads(entry.value)
        for key, value in changes.items():
            stored["graph"][key] = value
        entry.value = json.dumps(stored)

    return change


def without_config(model):
    del model.metadata_props[:]


def evil_class(model):
    entry = next(one for one in model.metadata_props if one.key == onnx_file.KEY)
    stored = json.loads(entry.value)
    stored["config"]["encoder"] = {"_target_": "os.system", "command": "true"}
    entry.value = json.dumps(stored)


def bloated(model):
    model.doc_string = "x" * (onnx_file.STRUCTURE + 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (external("../../../../etc/passwd"), "lies in another file"),
        (external("weights.bin"), "lies in another file"),
        (foreign_operator, "is not known here"),
        (loop, "is not known here"),
        (function, "holds functions"),
        (huge_kernel, "is more than"),
        (other_inputs, "takes and gives other things"),
        (told(state=[[1, 10**12]]), "state of its graph"),
        (told(stride=0), "stride of its graph"),
        (told(context=[1, -1]), "context of its graph"),
        (told(extra=1), "does not say how"),
        (without_config, "has no config"),
        (evil_class, "os.system"),
        (bloated, "beside its weights"),
    ],
)
def test_a_hostile_graph_is_refused_in_a_line(exported, tmp_path, change, said):
    with pytest.raises(BadInput, match=said) as refused:
        checkpoints.read(changed(exported, tmp_path, change))
    assert "\n" not in str(refused.value)


def enormous(model):
    """Adds a mean of 19 GB of numbers to the logits."""
    sizes = onnx.numpy_helper.from_array(np.array([1, 1, 3, 40_000, 40_000]), "sizes")
    model.graph.initializer.append(sizes)
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "before"
    model.graph.node.add(op_type="ReduceMean", name="small", input=["frames"], output=["small"])
    model.graph.node.add(op_type="Expand", name="huge", input=["small", "sizes"], output=["huge"])
    mean = model.graph.node.add(op_type="ReduceMean", name="mean", input=["huge"], output=["mean"])
    mean.attribute.add(name="keepdims", type=2).i = 0
    model.graph.node.add(op_type="Add", name="add", input=["before", "mean"], output=["logits"])


def test_a_graph_that_asks_for_much_memory_is_refused_when_it_is_run(exported, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor = Predictor(changed(exported, tmp_path, enormous))
    with pytest.raises(BadInput, match="cannot be run"):
        list(predictor([np.zeros((48, 64, 3), np.uint8)]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kB


def test_openvino_refuses_it_too(exporter, exported, tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'davis_exp[export]'")
    from davis_exp.exported import openvino_file

    path = tmp_path / "x.xml"
    openvino_file.write(path, onnx.load(changed(exported, tmp_path, enormous)), exporter.told, exporter.form)
    with pytest.raises(BadInput, match="too large"):
        list(Predictor(path)([np.zeros((48, 64, 3), np.uint8)]))


def test_damaged_and_other_files_are_refused(exported, tmp_path):
    content = exported.read_bytes()
    path = tmp_path / "x.onnx"
    for bad in (b"", b"hello", content[: len(content) // 2], b"\xff" * 5000, content[:-7] + b"\xff" * 7):
        path.write_bytes(bad)
        with pytest.raises(BadInput):
            checkpoints.read(path)
    with open(path, "wb") as file:  # sparse
        file.truncate(2**40)
    with pytest.raises(BadInput, match="larger than"):
        checkpoints.read(path)
    with pytest.raises(BadInput, match="no file"):
        checkpoints.read(tmp_path / "none.onnx")


def test_many_small_fields_are_refused_before_they_are_parsed(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\x3a\x02\x2a\x00" * (8 * 2**20))  # graphs of one empty weight each
    start = time.perf_counter()
    with pytest.raises(BadInput, match="beside its weights"):
        checkpoints.read(path)
    assert time.perf_counter() - start < 20


def test_a_program_of_pytorch_is_written_and_never_read(exporter, tmp_path):
    path = tmp_path / "model.pt2"
    exporter.write(path)
    assert path.stat().st_size > 1000
    with pytest.raises(BadInput, match="would run what is in such a file"):
        checkpoints.read(path)


def test_half_precision_keeps_the_answers_and_halves_the_file(exporter, exported, tmp_path):
    path = tmp_path / "half.onnx"
    exporter.write(path, "fp16")
    assert path.stat().st_size < exported.stat().st_size
    (sequence,) = GeneratedSource(train=1, test=1, length=4, height=48, width=64).sequences("test")
    other = checkpoints.restore(checkpoints.read(path))
    assert other.form.precision == "fp16"
    assert exporter.compare(other, [sequence], 4).probability <= 0.02


def test_int8_takes_its_ranges_from_frames(exporter, tmp_path):
    path = tmp_path / "int8.onnx"
    source = GeneratedSource(train=2, test=1, length=6, height=48, width=64)
    exporter.write(path, "int8", source.sequences("train"))
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    found = exporter.compare(checkpoints.restore(checkpoints.read(path)), source.sequences("test"), 6)
    assert found.probability <= 0.1
