"""A tiny model that streams, as a checkpoint and as files for other engines."""

import pytest
import torch
from omegaconf import OmegaConf

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'davis_exp[export]'")


def checkpoint_of(cfg):
    from davis_exp.experiment import build

    torch.manual_seed(0)
    model = build.build_model(cfg).eval()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    return {"config": OmegaConf.to_container(cfg, resolve=True), "state_dict": state}


@pytest.fixture(scope="module")
def exporter():
    """The exporter of a model of one convolution a side and a ConvGRU."""
    from hydra import compose, initialize_config_dir

    from davis_exp.config import conf_dir
    from davis_exp.experiment.exporting import Exporter

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose(
            "train",
            ["encoder=pixel", "decoder=pixel", "temporal=conv_gru", "data=generated", "data.size=[48,64]"],
        )
    return Exporter(checkpoint_of(cfg))


@pytest.fixture(scope="module")
def exported(exporter, tmp_path_factory):
    """Its ONNX file."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    exporter.write(path)
    return path
