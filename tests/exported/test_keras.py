"""Keras models for other engines, as any other model."""

import pytest
import torch
from omegaconf import OmegaConf

pytestmark = pytest.mark.timeout(600)
PARTS = {
    "a whole model": ("model=keras", "model.factory=keras_models.unet"),
    "an encoder": (
        *("encoder=keras", "encoder.factory=keras.applications.MobileNetV2"),
        *("encoder.weights=null", "+encoder.alpha=0.35", "decoder=fpn"),
    ),
}


@pytest.mark.parametrize(
    "parts",
    [PARTS["a whole model"], pytest.param(PARTS["an encoder"], marks=pytest.mark.slow)],
    ids=PARTS,
)
def test_the_file_answers_as_the_model_on_frames_of_any_size(parts, keras, compose, tmp_path):
    from davis_exp.experiment import build, checkpoints
    from davis_exp.experiment.exporting import Exporter

    torch.manual_seed(0)
    cfg = compose(*parts, "data=generated", "data.size=[64,96]")
    model = build.build_model(cfg).eval()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    Exporter({"config": OmegaConf.to_container(cfg, resolve=True), "state_dict": state}).write(
        tmp_path / "model.onnx"
    )
    other = checkpoints.restore(checkpoints.read(tmp_path / "model.onnx", allow=["keras_models.unet"]))
    frames = torch.rand(1, 2, 3, 100, 150)
    with torch.inference_mode():
        wanted, found = (one(frames)[0].logits.sigmoid() for one in (model, other))
    assert torch.allclose(wanted, found, atol=1e-3)
