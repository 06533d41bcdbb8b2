"""MATNet's fusion (Zhou et al., "Motion-Attentive Transition for Zero-Shot Video Object Segmentation",
AAAI 2020): motion guides appearance between the stages, and a bridge weighs both for the decoder."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.utils.arguments import check_positive


class MotionAttentiveTransition(nn.Module):
    """Transitions after the chosen stages; at every level, both streams side by side through a bridge.

    An affinity holds (h·w)² numbers per frame: at stride 8 of 480 × 854, 41 million.

    Args:
        appearance, motion: levels of the two streams, at the same strides; their channels may differ.
        after: strides of the stages that a transition follows (res3 to res5 in the paper).
        cascades: rounds of attention in a transition, all with the same weights.
        reduction: how many times narrower the space is in which the streams are compared.
        squeeze: how many times narrower the bridge's bottleneck is.

    Raises:
        ValueError: no level is at a stride of `after`, or another option is below 1.
    """

    between_stages = True

    def __init__(
        self,
        *,
        appearance: Levels,
        motion: Levels,
        after: Sequence[int] = (8, 16, 32),
        cascades: int = 5,
        reduction: int = 16,
        squeeze: int = 16,
    ) -> None:
        super().__init__()
        check_positive(cascades=cascades, reduction=reduction, squeeze=squeeze)
        strides = appearance.strides
        if not after or not set(after) <= set(strides):
            raise ValueError(f"after must be strides of {strides}, the streams' levels, got {list(after)}")
        pairs = list(zip(appearance.channels, motion.channels, strict=True))
        self.levels = appearance.with_channels([a + m for a, m in pairs])
        self.followed = [strides.index(stride) for stride in after]
        self.transitions = nn.ModuleList(
            Transition(*pairs[level], cascades=cascades, reduction=reduction) for level in self.followed
        )
        self.bridges = nn.ModuleList(Bridge(c, squeeze) for c in self.levels.channels)

    def transfer(self, level: int, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """As Fusion's: both streams after the transition, or as they are where there is none."""
        if level not in self.followed:
            return appearance, motion
        return self.transitions[self.followed.index(level)](appearance, motion)

    def forward(self, appearance: list[Tensor], motion: list[Tensor]) -> list[Tensor]:
        """As Fusion's."""
        levels = zip(appearance, motion, self.bridges, strict=True)
        return [bridge(torch.cat([a, m], dim=1)) for a, m, bridge in levels]


class Transition(nn.Module):
    """Rounds of soft attention on each stream and of co-attention from motion to appearance.

    Each round starts from the features plus what the round before found; only what the last one finds is
    added to the stage's output, as in the authors' code. Convolutions that their code makes but never
    applies (23.4 M with ResNet-101) are left out.
    """

    def __init__(self, channels: int, motion_channels: int, *, cascades: int, reduction: int) -> None:
        super().__init__()
        width = max(1, channels // reduction)
        self.cascades = cascades
        self.attend_appearance = nn.Conv2d(channels, 1, 1)
        self.attend_motion = nn.Conv2d(motion_channels, 1, 1)
        self.project_appearance = nn.Conv2d(channels, width, 1)
        self.project_motion = nn.Conv2d(motion_channels, width, 1)

    def forward(self, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, C, h, w) and (N, D, h, w) → the same, of no negative value."""
        carried, own = self.look(appearance, motion)
        a, m = appearance, motion
        for _ in range(self.cascades - 1):
            a, m = F.relu(a + carried), F.relu(m + own)
            carried, own = self.look(a, m)
        return F.relu(appearance + carried), F.relu(motion + own)

    def look(self, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """One round: what motion finds in appearance (N, C, h, w), and in itself (N, D, h, w)."""
        own = soft_attention(motion, self.attend_motion)
        return self.carry(soft_attention(appearance, self.attend_appearance), own), own

    def carry(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """For each position of motion (N, D, h, w), the appearance (N, C, h, w) where it is alike."""
        a = self.project_appearance(appearance).flatten(2)  # (N, width, h·w)
        m = self.project_motion(motion).flatten(2)
        affinity = torch.tanh(a.transpose(1, 2) @ m)  # (N, h·w of appearance, h·w of motion)
        carried = (appearance.flatten(2) @ affinity).view_as(appearance)
        return F.normalize(carried, dim=1)


class Bridge(nn.Module):
    """x + gate · spatial · channel · x: a squeeze-and-excitation, a 7 × 7 convolution of the largest
    channel, and one number for the whole map."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        width = max(1, channels // squeeze)
        self.squeeze = nn.Linear(channels, width)
        self.excite = nn.Linear(width, channels)
        self.gate = nn.Linear(width, 1)
        self.spatial = nn.Sequential(nn.Conv2d(1, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) → the same."""
        squeezed = F.relu(self.squeeze(features.mean(dim=(2, 3))))  # (N, width)
        excited = features * self.excite(squeezed).sigmoid()[:, :, None, None]
        weighed = excited * self.spatial(excited.amax(dim=1, keepdim=True))
        return features + weighed * self.gate(squeezed).sigmoid()[:, :, None, None]


def soft_attention(features: Tensor, score: nn.Module) -> Tensor:
    """Features (N, C, h, w) × the softmax of their scores over all positions."""
    scores = score(features)  # (N, 1, h, w)
    return features * scores.flatten(2).softmax(dim=2).view_as(scores)
