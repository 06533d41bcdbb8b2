"""How clips are drawn and batched: what a config says of it, checked. No torch here."""

import math
from dataclasses import dataclass

from davis_exp.config.parts import GAPS, flow_gaps
from davis_exp.utils.errors import BadInput

TEST_SPLITS = ("test", "holdout", "all")
CACHES = ("none", "ram", "disk")


@dataclass(frozen=True)
class Loading:
    """How clips are drawn and batched: the keys of conf/data/_loading.yaml, which says what each means.

    Raises BadInput naming the config key of a value that cannot be.
    """

    size: tuple[int, int]
    clip_length: int = 2
    clip_stride: tuple[int, int] = (1, 3)
    reverse: float = 0.5
    flow_gaps: tuple[int, ...] | None = None
    clips_per_epoch: int | None = None
    batch_size: int = 4
    workers: int = 2
    holdout: float = 0.2
    holdout_seed: int = 0
    fold: int = 0
    test_split: str = "test"
    cache: str = "none"
    cache_gb: float = 4.0

    def __post_init__(self) -> None:
        for name in ("size", "clip_stride"):  # a config gives lists
            value = getattr(self, name)
            if not (isinstance(value, list | tuple) and len(value) == 2 and all(map(_positive, value))):
                raise BadInput(f"data.{name} must be two whole numbers of at least 1, got {value!r}")
            object.__setattr__(self, name, tuple(value))
        if self.clip_stride[0] > self.clip_stride[1]:
            raise BadInput(f"data.clip_stride must be [smallest, largest], got {list(self.clip_stride)}")
        for name in ("clip_length", "batch_size", "clips_per_epoch"):
            value = getattr(self, name)
            if not _positive(value) and not (name == "clips_per_epoch" and value is None):
                raise BadInput(f"data.{name} must be a whole number of at least 1, got {value!r}")
        if not flow_gaps(self.flow_gaps):
            raise BadInput(f"data.flow_gaps must be {GAPS}, got {self.flow_gaps!r}")
        if self.flow_gaps is not None:
            object.__setattr__(self, "flow_gaps", tuple(self.flow_gaps))
        for name in ("workers", "holdout_seed", "fold"):
            if not _positive(getattr(self, name), least=0):
                raise BadInput(
                    f"data.{name} must be a whole number of at least 0, got {getattr(self, name)!r}"
                )
        if not _number(self.reverse) or not 0 <= self.reverse <= 1:
            raise BadInput(f"data.reverse must lie in 0 to 1, got {self.reverse!r}")
        if not _positive(self.holdout, least=0) and not (_number(self.holdout) and 0 <= self.holdout < 1):
            raise BadInput(
                f"data.holdout must be a fraction below 1 or a number of clips (0: none), got {self.holdout!r}"
            )
        for name, known in (("test_split", TEST_SPLITS), ("cache", CACHES)):
            if getattr(self, name) not in known:
                raise BadInput(f"data.{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not _number(self.cache_gb) or not 0 < self.cache_gb < math.inf:
            raise BadInput(f"data.cache_gb must be a number above 0, got {self.cache_gb!r}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
