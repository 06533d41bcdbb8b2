"""OpenVINO files, FILE.xml and the weights beside it in FILE.bin: made from an ONNX graph, looked through, run."""

import functools
import hashlib
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from davis_exp.exported import package
from davis_exp.exported.form import Form, about
from davis_exp.exported.segmenter import Engine
from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, brief, quoted

LARGEST = 512 * given.MB  # of the weights
LARGEST_OUTPUT = 2**27  # numbers that a layer gives, at most: half a GB
LARGEST_CONSTANTS = 2**29  # of all that depends on constants alone
STRUCTURE = 8 * given.MB  # of the graph
KEY = ["davis_exp", "about"]
OPSET = re.compile(r"opset[1-9][0-9]?")
WHOLE = re.compile(r"(?<![\w.])\d+(?![\w.])")
_KNOWN = """
Abs Add AvgPool BatchNormInference Broadcast Ceiling Clamp Concat Const Convert Convolution
ConvolutionBackpropData Divide Einsum Elu Equal Erf Exp FakeQuantize Floor Gather GatherElements GatherND Gelu
GELU Greater GreaterEqual GridSample GroupConvolution GroupConvolutionBackpropData HSigmoid HSwish Interpolate
LayerNorm Less LessEqual Log LogicalAnd LogicalNot LogicalOr MVN MatMul MaxPool Maximum Minimum Mish Mod
Multiply Negative NormalizeL2 Pad Parameter Power PReLU Range ReLU ReduceL2 ReduceMax ReduceMean ReduceSum
Reshape Result Round ScatterNDUpdate Select ShapeOf Sigmoid Sign Slice Softmax SoftMax SoftPlus Split Sqrt
SquaredDifference Squeeze StridedSlice Subtract Swish Tanh Tile TopK Transpose Unsqueeze VariadicSplit
"""
LAYERS = frozenset(_KNOWN.split())
"""Of OpenVINO's layers, those of models: none holds a graph of its own, loops, or reads anything else."""


def weights_file(path: Path) -> Path:
    """Where the weights of a graph lie."""
    return path.with_suffix(".bin")


def write(path: Path, model: Any, told: dict[str, Any], form: Form) -> None:
    """An `onnx.ModelProto` as OpenVINO's two files."""
    openvino = package("openvino")
    with tempfile.TemporaryDirectory(prefix="davis_exp_") as temporary:
        source, ir = (Path(temporary) / f"model.{suffix}" for suffix in ("onnx", "xml"))
        source.write_bytes(model.SerializeToString())
        openvino.save_model(openvino.convert_model(source), ir, compress_to_fp16=form.precision == "fp16")
        weights = weights_file(ir).read_bytes()
        tree = ElementTree.parse(ir)
    (end,) = tree.findall("rt_info")  # beside what OpenVINO says of itself
    end.clear()
    digest = {"weights_digest": hashlib.sha256(weights).hexdigest()}
    text = json.dumps({**told, **digest, "graph": form.plain()})
    ElementTree.SubElement(ElementTree.SubElement(end, KEY[0]), KEY[1], {"value": text})
    written.write_bytes(weights_file(path), weights)
    written.write_bytes(path, ElementTree.tostring(tree.getroot()))


def read(path: Path) -> tuple[dict[str, Any], Form, Engine, int]:
    """What the file tells of itself, how its graph is called, that ready to run, its numbers. Raises BadInput."""
    name = given.shown(path)
    _core()  # or a line that says how to install it
    content = given.read_bytes(path, STRUCTURE)
    if b"<!" in content:  # a declaration of entities, which grow
        raise BadInput(f"{name}: declares what no graph of OpenVINO's has: refused")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise BadInput(
            f"{name}: is no graph of OpenVINO's; give one that `davis-exp export` wrote"
        ) from error
    found = root.find(f"rt_info/{KEY[0]}/{KEY[1]}")
    told, form = about(None if found is None else found.get("value"), name)
    weights = given.read_bytes(weights_file(path), LARGEST)
    if told.get("weights_digest") != hashlib.sha256(weights).hexdigest():
        raise BadInput(f"{given.shown(weights_file(path))}: holds other weights than {name} was written with")
    count = _check(root, form, len(weights), name)
    return told, form, _engine(content, weights, form, name), count


@functools.cache
def _core() -> Any:
    """OpenVINO, kept for as long as the process lives.

    It gives the thread that first runs a graph another stack for signals, and frees that when it goes; if it goes in
    another thread, the next signal ends the process without a word.
    """
    return package("openvino").Core()


def _engine(content: bytes, weights: bytes, form: Form, name: str) -> Engine:
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    if form.precision == "fp32":  # else OpenVINO may compute in what halves this processor has
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    core = _core()
    try:
        graph = core.read_model(content, weights)
        outputs = [output.get_any_name() for output in graph.outputs]
    except Exception as error:
        raise BadInput(f"{name}: OpenVINO cannot use it: {brief(error)}") from error
    if outputs != list(form.outputs):
        raise BadInput(f"{name}: its graph takes and gives other things than it says; export it again")
    ready: dict[tuple[tuple[int, ...], ...], Any] = {}  # of the last size: graphs of fixed size are faster

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        try:
            shapes = tuple(one.shape for one in inputs)
            if shapes not in ready:
                ready.clear()
                graph.reshape(dict(zip(form.inputs, map(list, shapes), strict=True)))
                _check_sizes(graph, name)
                ready[shapes] = core.compile_model(graph, "CPU", settings).create_infer_request()
            found = ready[shapes].infer(dict(zip(form.inputs, inputs, strict=True)), share_inputs=True)
            return [np.array(found[output]) for output in form.outputs]
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(f"{name}: its graph cannot be run: {brief(error)}") from error

    return run


def _check_sizes(graph: Any, name: str) -> None:
    """Refuses a graph that computes something very large, or of a size that is not known before. Raises BadInput."""
    fixed: set[str] = (
        set()
    )  # what depends on constants alone: computed, and kept, when the graph is made ready
    kept = 0
    for node in graph.get_ordered_ops():
        sizes = [
            None if output.get_partial_shape().is_dynamic else math.prod(output.get_shape())
            for output in node.outputs()
        ]
        before = [value.get_node().get_name() for value in node.input_values()]
        if node.get_type_name() in ("Constant", "ShapeOf") or (before and fixed.issuperset(before)):
            fixed.add(node.get_name())
            kept += sum(size or 0 for size in sizes if before)
        if any(size is None or size > LARGEST_OUTPUT for size in sizes) or kept > LARGEST_CONSTANTS:
            raise BadInput(f"{name}: {quoted(node.get_friendly_name())} is too large for frames of this size")


def _check(root: ElementTree.Element, form: Form, size: int, name: str) -> int:
    """How many numbers the graph holds; refuses one that is not of known layers and the file's own weights."""
    weights = 0
    names: dict[str, list[str]] = {"Parameter": [], "Result": []}
    for layer in root.iter("layer"):
        kind, opset = layer.get("type", ""), layer.get("version", "")
        if kind not in LAYERS or not OPSET.fullmatch(opset):
            raise BadInput(f"{name}: layer {quoted(f'{opset}:{kind}')} is not known here")
        if layer.find("body") is not None:
            raise BadInput(f"{name}: layer {quoted(layer.get('name'))} holds a graph of its own")
        data = layer.find("data")
        values = {} if data is None else dict(data.items())
        if kind == "Const":
            start, length = (values.get(key, "") for key in ("offset", "size"))
            if not (start.isdecimal() and length.isdecimal() and int(start) + int(length) <= size):
                raise BadInput(f"{name}: {quoted(layer.get('name'))} lies outside of its weights")
            weights += math.prod(int(side) for side in values.get("shape", "").split(",") if side.isdecimal())
        elif any(len(word) > 10 for value in values.values() for word in WHOLE.findall(value)):
            raise BadInput(f"{name}: {quoted(layer.get('name'))} has a number of more than ten digits")
        if kind in names:
            names[kind].append(layer.get("name", ""))
    if names["Parameter"] != list(form.inputs) or len(names["Result"]) != len(form.outputs):
        raise BadInput(f"{name}: its graph takes and gives other things than it says; export it again")
    return weights
