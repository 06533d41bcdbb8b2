"""What every encoder that sees one frame at a time has in common."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.encoders.weights import is_trained_here, load_trained, summary
from davis_exp.models.levels import Levels

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class FrameEncoder(nn.Module):
    """A 2-D network over single frames: T is folded into the batch.

    Args:
        name: what the network is called, for messages.
        net: (N, 3, H, W) → the maps that `features` picks its levels from. Built without weights.
        levels: what it gives.
        weights: which pretrained weights `load_weights` fetches; None for none. zoo/NAME is a model that ships.
        frozen: keep the network as it is: no gradients, and evaluation mode throughout.
        mean, std: RGB statistics that the weights were trained with, for frames in [0, 1].
        image_size: the only (H, W) that `net` takes: frames are resized to it, and its maps to the levels' strides.
    """

    context = (0, 0)
    needs_motion = False
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        net: nn.Module,
        *,
        levels: Levels,
        weights: str | None = None,
        frozen: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.image_size = image_size
        self.net = net
        self.levels = levels
        self.weights = weights
        self.frozen = frozen
        # Not in the state_dict: they belong to the config, and follow the module to its device.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        if frozen:
            self.requires_grad_(False)
            self.train()

    def forward(self, frames: Tensor, motion: Tensor | None = None) -> list[Tensor]:
        """Frames (B, T, 3, H, W) in [0, 1] → one (B, T, C, H/s, W/s) per level."""
        images = self.normalise(frames)
        h, w = images.shape[-2:]
        if self.image_size not in (None, (h, w)):
            images = F.interpolate(images, self.image_size, mode="bilinear", antialias=True)
        levels = zip(self.features(images), self.levels.strides, strict=True)
        return [_at(level, (h // s, w // s)).unflatten(0, frames.shape[:2]) for level, s in levels]

    def normalise(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) in [0, 1] → images (B·T, 3, H, W) as the weights expect them."""
        scale = self.std.reciprocal()
        return (frames.flatten(0, 1) * scale).add_(
            -self.mean * scale
        )  # a third of the time of (x - mean) / std

    def features(self, images: Tensor) -> list[Tensor]:
        """Normalised images (N, 3, H, W) → one (N, C, h, w) per level, h and w at or near H/s, W/s."""
        return self.net(images)

    @property
    def stages(self) -> tuple[nn.Module, ...] | None:
        """Modules of `net` to run in order: stage i makes level i from level i − 1, the first from images.

        None where the network cannot be cut so. They are made anew at each call, around `net`'s own parts.
        """
        return None

    def load_weights(self) -> None:
        """Fill in the pretrained weights that it was told of, if any.

        Raises:
            ValueError: they cannot be had (no such weights, no connection).
        """
        if self.weights is None:
            return
        if is_trained_here(self.weights):
            load_trained(self, self.weights)
        else:
            self.load_pretrained(self.weights)

    def load_pretrained(self, weights: str) -> None:
        """Copy the library's `weights` from a second instance of the network. Raises ValueError, as `load_weights`."""
        try:
            donor = self.donor(weights)
        except Exception as error:  # each library, and each of its back ends, raises its own kind
            raise ValueError(
                f"weights={weights}: cannot load them for {self.name} ({summary(error)}): no such weights, or no "
                "connection; set it to null (None) to start without"
            ) from error
        self.net.load_state_dict(donor.state_dict())

    def donor(self, weights: str) -> nn.Module:
        """The network again, with `weights` loaded. Raises ValueError where there are none."""
        raise ValueError(f"{type(self).__name__} has no pretrained weights")

    def train(self, mode: bool = True) -> "FrameEncoder":
        """As nn.Module.train, but a frozen encoder stays in evaluation mode."""
        return super().train(mode and not self.frozen)


def _at(level: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (N, C, h, w) at the size of its level, which networks without padding miss by a few positions."""
    return level if level.shape[-2:] == size else F.interpolate(level, size, mode="bilinear")
