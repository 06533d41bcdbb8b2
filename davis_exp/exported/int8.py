"""An ONNX graph in whole numbers of 8 bits, per channel, as it is when real frames go through it."""

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.exported.form import Form

QUANTISED = (
    "Conv",
    "ConvTranspose",
    "Clip",
    "Relu",
)  # of the latter, those that become part of a convolution


def quantised(model: Any, form: Form, samples: Iterable[list[np.ndarray]]) -> Any:
    """The `onnx.ModelProto` in 8 bits (QDQ); its first and last convolutions, and all that is no product, stay as they are.

    Args:
        samples: what the graph is called with, in the order of `form.inputs`; its ranges come from these.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self.left, None)
            return None if sample is None else dict(zip(form.inputs, sample, strict=True))

    with tempfile.TemporaryDirectory(prefix="davis_exp_") as temporary:
        out = Path(temporary) / "int8.onnx"
        logging.disable(logging.WARNING)  # advice to run other tools of its own first
        try:
            quantize_static(
                model,
                out,
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_ends(model),
                calibration_providers=["CPUExecutionProvider"],
            )
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(out)


def _ends(model: Any) -> list[str]:
    """The first convolution that each picture meets, and the last before the logits."""
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    pictures = [one.name for one in model.graph.input if one.name in ("frames", "motion")]
    first, reached = [], set(pictures)
    for node in model.graph.node:
        if reached & set(node.input):
            if node.op_type == "Conv":
                first.append(node.name)
            else:
                reached |= set(node.output)
    return [*first, *(node.name for node in convolutions[-1:])]
