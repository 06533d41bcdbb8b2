"""The least a fusion can be."""

from torch import Tensor

from davis_exp.models.fusion.level_fusion import LevelFusion


class Sum(LevelFusion):
    """Features added, level by level (as TMO: Cho et al., "Treating Motion as Option", WACV 2023)."""

    def merge(self, level: int, appearance: Tensor, motion: Tensor) -> Tensor:
        return appearance + motion
