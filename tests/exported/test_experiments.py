"""Every experiment exports to ONNX, or is refused in a sentence; the file is a checkpoint like any other."""

import pytest
import torch
from omegaconf import OmegaConf

from davis_exp.config import conf_dir
from davis_exp.experiment import build, checkpoints
from davis_exp.utils.errors import BadInput

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'davis_exp[export]'")

onnx = pytest.importorskip("onnx")
QUICK = ("contest_starter", "ablation", "mobile")
EXPERIMENTS = sorted(path.stem for path in conf_dir().glob("experiment/*.yaml"))


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS]
)
@pytest.mark.timeout(1800)
def test_an_experiment_exports_and_answers_alike(name, compose, tmp_path):
    from davis_exp.experiment.exporting import Exporter

    torch.manual_seed(0)
    cfg = compose(f"experiment={name}")
    model = build.build_model(cfg).eval()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    checkpoint = {"config": OmegaConf.to_container(cfg, resolve=True), "state_dict": state}
    path = tmp_path / "model.onnx"
    try:
        Exporter(checkpoint).write(path)
    except BadInput as error:
        if name in QUICK or not str(error).startswith("this model cannot be exported: "):
            raise
        pytest.skip(f"refused: {error}")
    if name == "mobile":  # convolutions do what the batch norms after them did
        assert "BatchNormalization" not in {node.op_type for node in onnx.load(path).graph.node}
    read = checkpoints.read(path)
    other = checkpoints.restore(read)
    assert (other.context, other.needs_motion) == (model.context, model.needs_motion)
    frames = torch.rand(1, 3, 3, 100, 150)  # no multiples of any stride
    motion = torch.rand(1, 3, 3, 100, 150) if model.needs_motion else None
    with torch.inference_mode():
        wanted, state = model(frames, motion)
        found, after = other(frames, motion)
        assert torch.allclose(wanted.logits.sigmoid(), found.logits.sigmoid(), atol=1e-3)
        again, _ = model(frames, motion, state)  # where it carries state, from there on
        later, _ = other(frames, motion, after)
        assert torch.allclose(again.logits.sigmoid(), later.logits.sigmoid(), atol=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_step_reproduces_streaming_over_real_frames(compose, davis_root, tmp_path):
    from davis_exp.data.sources import open_source
    from davis_exp.experiment.exporting import Exporter, first

    cfg = compose("experiment=mobile")
    model = build.build_model(cfg)
    build.load_weights(model)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    exporter = Exporter({"config": OmegaConf.to_container(cfg, resolve=True), "state_dict": state})
    exporter.write(tmp_path / "step.onnx")
    sequence = max(open_source(davis_root).sequences("test"), key=len)
    other = checkpoints.restore(checkpoints.read(tmp_path / "step.onnx"))
    found = exporter.compare(other, [first(sequence, 60)], 60)
    assert found.frames == min(60, len(sequence))
    assert found.probability <= 1e-3
    assert abs(found.scores[0] - found.scores[1]) <= 1e-4
