"""OpenVINO's two files: read, or refused in a line."""

import functools
import subprocess
import sys

import numpy as np
import pytest

from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.experiment import checkpoints
from davis_exp.exported import openvino_file
from davis_exp.utils.errors import BadInput

openvino = pytest.importorskip(
    "openvino", reason="openvino is not installed: pip install 'davis_exp[export]'"
)


@pytest.fixture(scope="module")
def written(exporter, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "model.xml"
    exporter.write(path)
    return path


def test_it_answers_as_the_checkpoint(exporter, written):
    (sequence,) = GeneratedSource(train=1, test=1, length=8, height=48, width=64).sequences("test")
    found = exporter.compare(checkpoints.restore(checkpoints.read(written)), [sequence], 8)
    assert found.probability <= 1e-3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('type="Convolution"', 'type="ReadValue"', "is not known here"),
        ('version="opset1"', 'version="extension"', "is not known here"),
        ("<?xml", '<!DOCTYPE x [<!ENTITY a "b">]><?xml', "refused"),
        ('offset="0"', 'offset="999999999"', "outside of its weights"),
        ("weights_digest", "other", "other weights"),
        ("</net>", "", "no graph of OpenVINO's"),
        ("<about", "<other", "has no config"),
    ],
)
def test_a_hostile_graph_is_refused_in_a_line(written, tmp_path, old, new, said):
    text = written.read_text()
    if old == "<?xml":
        text = f"<?xml version='1.0'?>{text}"
    assert old in text
    path = tmp_path / "x.xml"
    path.write_text(text.replace(old, new))
    path.with_suffix(".bin").write_bytes(written.with_suffix(".bin").read_bytes())
    with pytest.raises(BadInput, match=said):
        checkpoints.read(path)


def test_weights_that_are_missing_or_other_are_refused(written, tmp_path):
    path = tmp_path / "x.xml"
    path.write_bytes(written.read_bytes())
    with pytest.raises(BadInput, match=r"x\.bin"):
        checkpoints.read(path)
    path.with_suffix(".bin").write_bytes(b"\0" * 100)
    with pytest.raises(BadInput, match="other weights"):
        checkpoints.read(path)


def test_constants_that_grow_are_refused_before_they_do():
    op = openvino.opset13
    frames = op.parameter([1, 3, 8, 8], np.float32, name="frames")
    one, large = op.constant(np.ones(1, np.float32)), op.constant(np.array([2**26]))
    grown = [op.broadcast(one, large) for _ in range(9)]
    total = functools.reduce(op.add, [op.reduce_sum(one, op.constant([0])) for one in grown])
    graph = openvino.Model([op.add(frames, total)], [frames], "grows")
    with pytest.raises(BadInput, match="too large"):
        openvino_file._check_sizes(graph, "x.xml")
    small = openvino.Model([op.add(frames, op.broadcast(one, op.constant([8])))], [frames], "small")
    openvino_file._check_sizes(small, "x.xml")


LET_GO = """
import signal, subprocess, sys, threading
import torch
from davis_exp.experiment import checkpoints
held = [checkpoints.restore(checkpoints.read(sys.argv[1]))]
with torch.no_grad():
    held[0](torch.zeros(1, 1, 3, 48, 64))
ends = threading.Thread(target=held.clear)
ends.start()
ends.join()
heard = []
signal.signal(signal.SIGCHLD, lambda number, frame: heard.append(number))
for _ in range(20):
    subprocess.run(["true"])
print(len(heard))
"""


def test_a_process_can_be_sent_signals_after_another_thread_has_let_go_of_a_graph(written):
    done = subprocess.run(
        [sys.executable, "-c", LET_GO, str(written)], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "20\n", "")
