"""The levels of features that one part of a model gives and the next one takes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Levels:
    """Feature maps fine → coarse; of frames (B, T, 3, H, W), map i is (B, T / tᵢ, channels[i], H / sᵢ, W / sᵢ).

    Args:
        channels: of each map.
        strides: sᵢ, pixels of the frame per position of the map.
        temporal_strides: tᵢ, frames per step of the map; all 1 where they are not given.

    Raises:
        ValueError: there are none, or not as many of one as of the others.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    temporal_strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("channels", "strides", "temporal_strides"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.temporal_strides:
            object.__setattr__(self, "temporal_strides", (1,) * len(self.strides))
        if not self.channels or not len(self.channels) == len(self.strides) == len(self.temporal_strides):
            raise ValueError(f"no levels, or not as many channels as strides: {self}")

    def __len__(self) -> int:
        return len(self.channels)

    def __getitem__(self, chosen: slice) -> "Levels":
        return Levels(self.channels[chosen], self.strides[chosen], self.temporal_strides[chosen])

    def with_channels(self, channels: Sequence[int]) -> "Levels":
        """Maps of the same sizes with other channels."""
        return Levels(tuple(channels), self.strides, self.temporal_strides)

    @classmethod
    def of(cls, part: object) -> "Levels":
        """What `part` declares: `levels`, or the three attributes of its fields' names.

        Raises ValueError if it declares neither.
        """
        declared = getattr(part, "levels", None)
        if isinstance(declared, cls):
            return declared
        names = ("channels", "strides", "temporal_strides")
        if missing := [name for name in names if not hasattr(part, name)]:
            raise ValueError(f"{type(part).__name__} declares no `levels` (and no `{missing[0]}`)")
        return cls(*(getattr(part, name) for name in names))
