"""RAFT as the model's own source of motion pictures."""

import logging
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.encoders.weights import summary
from davis_exp.models.flow.colours import flow_to_image
from davis_exp.utils.arguments import check_positive

log = logging.getLogger(__name__)

MIN_SIDE = 128  # RAFT refuses smaller frames
FEATURE_STRIDE = 8
MAX_CORRELATIONS = 2**27  # of one call, 0.5 GB: three pairs of frames at 480p


class RaftSmall(nn.Module):
    """Flow by RAFT's small variant, painted. It is never trained here: no gradients, evaluation mode throughout.

    Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020, by torchvision.
    It sees no more than the clip: the last frame takes the flow to the one before it, negated (backward: the
    first, that to the next). A clip of one frame is its own motion picture. Clips made from stills get the
    flow of their made motion, unlike with `flow=dis`.

    Args:
        weights: torchvision's name for them ("C_T_V2"), or a file; None for none.
        direction: forward, to the next frame; or backward, to the one before.
        updates: iterations of refinement.

    Raises:
        ValueError: an unknown direction or no updates.
    """

    def __init__(
        self,
        weights: str | None = None,
        direction: Literal["forward", "backward"] = "forward",
        updates: int = 12,
    ) -> None:
        from torchvision.models.optical_flow import raft_small

        if direction not in ("forward", "backward"):
            raise ValueError(f"direction must be forward or backward, got {direction!r}")
        check_positive(updates=updates)
        super().__init__()
        self.weights, self.direction, self.updates = weights, direction, updates
        self.context = (0, 1) if direction == "forward" else (1, 0)
        self.net: Any = raft_small(weights=None)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "RaftSmall":
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, 3, H, W) in [0, 1] → motion pictures of the same shape and range."""
        b, t, _, h, w = frames.shape
        if t == 1:
            return frames
        images = _pad(frames.flatten(0, 1) * 2 - 1).unflatten(0, (b, t))
        edge = t - 1 if self.direction == "forward" else 0
        step = 1 if self.direction == "forward" else -1
        others = [i - step if i == edge else i + step for i in range(t)]
        cells = images.shape[-2] * images.shape[-1] // FEATURE_STRIDE**2
        pairs = max(1, MAX_CORRELATIONS // cells**2)
        ones, twos = images.flatten(0, 1).split(pairs), images[:, others].flatten(0, 1).split(pairs)
        flows = [self.net(*pair, num_flow_updates=self.updates)[-1] for pair in zip(ones, twos, strict=True)]
        flow = torch.cat(flows)[..., :h, :w].unflatten(0, (b, t)).float()  # (B, T, 2, H, W)
        sign = torch.tensor([-1.0 if i == edge else 1.0 for i in range(t)], device=flow.device)
        return flow_to_image(flow * sign[:, None, None, None]).to(frames.dtype)

    def load_weights(self) -> None:
        """Fill in the weights.

        Raises:
            ValueError: they cannot be had (no such weights, no connection, a file of something else).
        """
        if self.weights is None:
            log.warning(
                "a flow network without weights has learned nothing, and is not trained here: set its weights to "
                "C_T_V2 or a file, or have motion computed without a network"
            )
            return
        try:
            self.net.load_state_dict(_state(self.weights))
        except Exception as error:  # each of torch's ways to fail is of its own kind
            raise ValueError(
                f"weights={self.weights}: cannot load them ({summary(error)}): no such weights, or no "
                "connection; give torchvision's name for them (C_T_V2), or a file that holds its state_dict"
            ) from error


def _pad(images: Tensor) -> Tensor:
    """Images (N, 3, H, W), continued by their edge to what RAFT accepts."""
    h, w = images.shape[-2:]
    height, width = (max(MIN_SIDE, -(-side // FEATURE_STRIDE) * FEATURE_STRIDE) for side in (h, w))
    return F.pad(images, (0, width - w, 0, height - h), mode="replicate")


def _state(weights: str) -> dict[str, Tensor]:
    if Path(weights).is_file():
        return torch.load(weights, map_location="cpu", weights_only=True)
    from torchvision.models.optical_flow import Raft_Small_Weights

    return Raft_Small_Weights[weights].get_state_dict(progress=False, check_hash=True)
