"""ONNX files: written from a traced model, looked through before ONNX Runtime is given them, run by it."""

import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from davis_exp.exported.form import Form, about
from davis_exp.exported.segmenter import Engine
from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput, brief, quoted

LARGEST = 512 * given.MB
MEMORY = 1536 * given.MB  # of all graphs together, weights included: what asks for more is refused
STRUCTURE = 4 * given.MB  # bytes beside the weights: a parsed graph takes many times its length in memory
HIGHEST = 4096  # of a number among an operator's attributes: a kernel, a stride, a padding
KEY = "davis_exp"  # of the JSON among the file's properties
OPSET = 20
_KNOWN = """
Abs Add And AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose
DequantizeLinear Div Einsum Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool Greater GreaterOrEqual GridSample HardSigmoid HardSwish Identity InstanceNormalization
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Min Mod Mul Neg Not Or Pad Pow
QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceSum Relu Reshape Resize Round ScatterND
Shape Sigmoid Sign Size Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu
Unsqueeze Where
"""
OPERATORS = frozenset(_KNOWN.split())
"""Of the standard's operators, those of models: none holds a graph of its own, loops, or reads anything else."""


def write(path: Path, model: Any, told: dict[str, Any], form: Form) -> None:
    """An `onnx.ModelProto` with what it tells of itself."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps({**told, "graph": form.plain()})
    with written.atomic_file(path) as part:
        part.write_bytes(model.SerializeToString())


def graph(program: torch.export.ExportedProgram, form: Form) -> Any:
    """A traced model as an `onnx.ModelProto` whose inputs and outputs are called as `form` has them."""
    import logging
    import warnings

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(form.inputs),
            output_names=list(form.outputs),
        )
    assert made is not None
    model = made.model_proto
    for node in model.graph.node:  # where in whose folders each was traced
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    return model


def in_half(model: Any) -> None:
    """Keep every large weight of an `onnx.ModelProto` in half precision; engines compute as they did."""
    import onnx
    from onnx import numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= 64:
            name, half = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            if not np.isfinite(half).all():
                raise BadInput(f"{name}: holds what half precision cannot; the model has diverged")
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def read(path: Path) -> tuple[dict[str, Any], Form, Engine, int]:
    """What the file tells of itself, how its graph is called, that ready to run, its numbers. Raises BadInput."""
    from davis_exp.exported import package

    name = given.shown(path)
    onnx = package("onnx", "onnxruntime")
    content = given.read_bytes(path, LARGEST)
    none = f"{name}: is no ONNX file, or a damaged one; give one that `davis-exp export` wrote"
    if _beside_weights(content) > STRUCTURE:
        raise BadInput(
            f"{name}: more than {STRUCTURE // given.MB} MB beside its weights, or damaged: refused"
        )
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own
        raise BadInput(none) from error
    told, form = about(next((one.value for one in model.metadata_props if one.key == KEY), None), name)
    _check(model, form, name)
    weights = sum(math.prod(tensor.dims) for tensor in _tensors(model.graph))
    return told, form, engine(content, form, name), weights


def engine(content: bytes, form: Form, name: str) -> Engine:
    """A serialised graph, ready to run. Raises BadInput where ONNX Runtime cannot."""
    import onnxruntime

    _limit_memory()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4  # what it has to say is in its errors
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that wait do so asleep: decoding, flow and encoding need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadInput(f"{name}: ONNX Runtime cannot use it: {brief(error)}") from error

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        try:
            return session.run(list(form.outputs), dict(zip(form.inputs, inputs, strict=True)))
        except Exception as error:
            raise BadInput(f"{name}: its graph cannot be run: {brief(error)}") from error

    return run


@functools.cache
def _limit_memory() -> None:
    """Have ONNX Runtime take no more than MEMORY in this process, whatever sizes a graph asks for."""
    import onnxruntime as ort

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    arena = {"max_mem": MEMORY, "arena_extend_strategy": 1}  # 1: as much as is asked for, no power of two
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(arena))


def _check(model: Any, form: Form, name: str) -> None:
    """Refuses what is not a plain graph of known operators whose weights lie in the file. Raises BadInput."""
    graph = model.graph
    if len(model.functions) or len(graph.sparse_initializer) or len(model.training_info):
        raise BadInput(
            f"{name}: holds functions, sparse weights or a training: a graph of operators is asked for"
        )
    for tensor in _tensors(graph):
        if tensor.data_location or len(tensor.external_data):
            raise BadInput(
                f"{name}: {quoted(tensor.name)} lies in another file: a model is one file, which reads none"
            )
        if any(side < 0 for side in tensor.dims):
            raise BadInput(f"{name}: {quoted(tensor.name)} has a side below 0")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise BadInput(
                f"{name}: operator {quoted(f'{node.domain}:{node.op_type}'.lstrip(':'))} is not known here"
            )
        for attribute in node.attribute:
            if attribute.HasField("g") or len(attribute.graphs) or attribute.HasField("sparse_tensor"):
                raise BadInput(f"{name}: {quoted(node.name)} holds a graph or a sparse tensor of its own")
            if any(abs(number) > HIGHEST for number in attribute.ints) and node.op_type != "Constant":
                raise BadInput(
                    f"{name}: {quoted(node.name)}.{quoted(attribute.name)} is more than {HIGHEST:,}"
                )
    stored = {tensor.name for tensor in graph.initializer}
    found = [[one.name for one in graph.input if one.name not in stored], [one.name for one in graph.output]]
    if found != [list(form.inputs), list(form.outputs)]:
        raise BadInput(f"{name}: its graph takes and gives other things than it says; export it again")


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _beside_weights(content: bytes) -> int:
    """Bytes of a serialised model that are not the raw data of its weights; counted no further than STRUCTURE."""
    raw = 0
    for tag, start, stop in _fields(content, 0, len(content)):
        if tag != 7:  # ModelProto.graph
            continue
        for inner, first, last in _fields(content, start, stop):
            kept = 0
            for field, a, b in _fields(content, first, last) if inner == 5 else ():  # GraphProto.initializer
                if a - raw > STRUCTURE:
                    return a - raw
                kept = b - a if field == 9 else kept  # TensorProto.raw_data, of which the last counts
            raw += kept
            if last - raw > STRUCTURE:
                return last - raw
    return len(content) - raw


def _fields(content: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, end) of each field with a length in content[start:stop]; ends early where it is damaged."""
    at = start

    def number() -> int:
        nonlocal at
        value = shift = 0
        while at < stop and shift < 64:
            byte = content[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
        at = stop + 1
        return 0

    while at < stop:
        tag = number()
        kind = tag & 7
        if kind == 2:
            length = number()
            if at + length > stop:
                return
            yield tag >> 3, at, at + length
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 0:
            number()
        else:
            return
