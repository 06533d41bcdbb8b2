"""torchvision's 3-D networks of video classification."""

import difflib
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from davis_exp.models.encoders.clip_encoder import ClipEncoder, context_of
from davis_exp.models.levels import Levels

UNSTRIDED = (3, 1)
RESNET18 = [UNSTRIDED] * 5 + (
    [(3, 2)] + [UNSTRIDED] * 3
) * 3  # a stem, then four stages of two blocks of two layers
# (kernel, stride) along time of every layer that looks across frames.
TEMPORAL_LAYERS = {
    "r3d_18": RESNET18,
    "r2plus1d_18": RESNET18,
    "mc3_18": [UNSTRIDED] * 5,  # past the first stage its layers are 2-D
    "s3d": [(7, 2), *[UNSTRIDED] * 3, (3, 2), *[UNSTRIDED] * 5, (2, 2), *[UNSTRIDED] * 2],
}


class TorchvisionVideoEncoder(ClipEncoder):
    """r3d_18, mc3_18, r2plus1d_18 (Tran et al., CVPR 2018) or s3d (Xie et al., ECCV 2018).

    Each level is the last map of its size. S3D halves T in its first layer, so even its finest level has one
    map for two frames, and it needs 8 frames; VideoSegmenter pads clips to that.

    Args:
        name: torchvision's name of the network.
        weights: None; "kinetics400" for the published ones (a download).
        frozen: see FrameEncoder.

    Raises:
        ValueError: none of those networks, or other weights.
    """

    def __init__(self, name: str, weights: str | None = None, frozen: bool = False) -> None:
        if name not in TEMPORAL_LAYERS:
            near = difflib.get_close_matches(name, TEMPORAL_LAYERS, n=3) or TEMPORAL_LAYERS
            raise ValueError(
                f"name={name}: no video network of torchvision with levels of features; choose {', '.join(near)}"
            )
        if weights not in (None, "kinetics400"):
            raise ValueError(f"weights must be kinetics400 or null (None), got {weights!r}")
        net = FeaturePyramid(layers(name))
        sizes = net.sizes(frames=16, side=64)
        super().__init__(
            name,
            net,
            levels=Levels(
                channels=tuple(channels for channels, _, _ in sizes),
                strides=tuple(64 // height for _, _, height in sizes),
                temporal_strides=tuple(16 // length for _, length, _ in sizes),
            ),
            context=context_of(TEMPORAL_LAYERS[name]),
            weights=weights,
            frozen=frozen,
        )

    def donor(self, weights: str) -> nn.Module:
        return FeaturePyramid(layers(self.name, weights.upper() + "_V1"))


class FeaturePyramid(nn.Module):
    """Layers in a row, and the last map of each size that passes through them."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, clip: Tensor) -> list[Tensor]:
        """(B, 3, T, H, W) → (B, C, t, h, w) per level, fine → coarse."""
        levels: list[Tensor] = []
        for layer in self.layers:
            clip = layer(clip)
            if levels and levels[-1].shape[-2:] == clip.shape[-2:]:
                levels.pop()
            levels.append(clip)
        return levels

    def sizes(self, frames: int, side: int) -> list[tuple[int, int, int]]:
        """(channels, t, h) of each level for `frames` square frames; nothing is computed."""
        tensors = itertools.chain(self.named_parameters(), self.named_buffers())
        empty = {name: tensor.to("meta") for name, tensor in tensors}
        levels = functional_call(self, empty, torch.empty(1, 3, frames, side, side, device="meta"))
        return [tuple(level.shape[1:4]) for level in levels]


def layers(name: str, weights: str | None = None) -> list[nn.Module]:
    """The network's layers up to its last map, in order."""
    from torchvision.models import get_model  # late: it takes seconds, and only some encoders need it

    net = get_model(name, weights=weights)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            # S3D's own 0.001 would leave a net that starts without weights unfit for evaluation for
            # thousands of steps.
            module.momentum = 0.1
    children = net.features if name == "s3d" else [net.stem, net.layer1, net.layer2, net.layer3, net.layer4]
    return list(children)
