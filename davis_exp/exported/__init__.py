"""Models as files for other engines than PyTorch: ONNX (ONNX Runtime) and OpenVINO; .pt2 can only be written.

Each holds its model's config and how its graph is called (`form`), and is data like any checkpoint: a graph of known
operators whose weights lie in the file itself.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    from davis_exp.exported.segmenter import ExportedSegmenter

ENGINES = {".onnx": "onnx_file", ".xml": "openvino_file"}
PROGRAM = ".pt2"  # read by PyTorch with pickle and sympify, which run what is in a file: written, never read


def is_exported(path: str | Path) -> bool:
    """Whether the name is that of a file for another engine."""
    return Path(path).suffix.lower() in (*ENGINES, PROGRAM)


def open_exported(path: Path) -> tuple[dict[str, Any], "ExportedSegmenter"]:
    """What the file says of itself ("config" and more), and its graph as a segmenter.

    Its config is not checked here. Raises BadInput for what is no such file, and where the engine is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == PROGRAM:
        raise BadInput(
            f"{given.shown(path)}: PyTorch would run what is in such a file; give the checkpoint, or its .onnx"
        )
    from davis_exp.exported.segmenter import ExportedSegmenter

    told, form, engine, weights = import_module(f"davis_exp.exported.{ENGINES[suffix]}").read(path)
    return told, ExportedSegmenter(form, engine, weights, given.shown(path))


def package(*names: str) -> Any:
    """The first of the packages, all of them imported. Raises BadInput saying how to install them."""
    try:
        first, *_ = [import_module(name) for name in names]
        return first
    except ImportError as error:
        missing = names[0].partition(".")[0] if error.name is None else error.name
        raise BadInput(f"{missing} is not installed; pip install 'davis_exp[export]'") from error
