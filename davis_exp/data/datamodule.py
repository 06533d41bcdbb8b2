"""From a source to loaders: the hold-out split, training clips in batches, whole sequences for evaluation."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from davis_exp.data.clips import Augmentation, ClipDataset, ClipSampler, rank_and_world
from davis_exp.data.features import FeatureStore
from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import Part, Sequence, Source
from davis_exp.data.split import frame_weights, split_holdout
from davis_exp.errors import BadInput

log = logging.getLogger(__name__)

TEST_SPLITS = ("test", "holdout", "all")


@dataclass(frozen=True)
class Loading:
    """How clips are drawn and batched: the keys of conf/data/_loading.yaml, which says what each means.

    Raises BadInput naming the config key of a value that cannot be.
    """

    size: tuple[int, int]
    clip_length: int = 2
    clip_stride: tuple[int, int] = (1, 3)
    reverse: float = 0.5
    clips_per_epoch: int | None = None
    batch_size: int = 4
    workers: int = 2
    holdout: float = 0.2
    holdout_seed: int = 0
    test_split: str = "test"

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
        for name in ("workers", "holdout_seed"):
            if not _positive(getattr(self, name), least=0):
                raise BadInput(
                    f"data.{name} must be a whole number of at least 0, got {getattr(self, name)!r}"
                )
        if not _number(self.reverse) or not 0 <= self.reverse <= 1:
            raise BadInput(f"data.reverse must lie in 0 to 1, got {self.reverse!r}")
        if not _positive(self.holdout) and not (_number(self.holdout) and 0 < self.holdout < 1):
            raise BadInput(
                f"data.holdout must be a fraction between 0 and 1 or a number of clips, got {self.holdout!r}"
            )
        if self.test_split not in TEST_SPLITS:
            raise BadInput(
                f"data.test_split must be one of {', '.join(TEST_SPLITS)}, got {self.test_split!r}"
            )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


class ClipDataModule(pl.LightningDataModule):
    """Loaders over a source.

    Training batches are {"frames": uint8 (B,T,3,H,W), "masks": uint8 (B,T,1,H,W) in {0,1}}, with "motion" like
    the frames where there is a motion source; a pure function of (seed, epoch, item) and so the same for any
    number of workers. Validation reads the held-out training clips and testing the test stage; both loaders
    yield whole `Sequence` objects, under DDP each rank its own.

    No clip that was trained on is tested on in silence: a test stage that shares clips with a labelled train
    stage is replaced by the hold-out, with a warning (`test_split: all` overrules).

    Args:
        source: the data set.
        augmentation: called with `size=(H, W)`; gives what `ClipDataset` calls on each clip. None where
            there is no training.
        loading: how clips are drawn and batched.
        seed: decides the clips drawn, their order and augmentation.
        motion: where motion pictures come from, if the model wants them.
        features: what a frozen encoder makes of the training frames, if it is not to be run again.

    Attributes:
        train_sequences, val_sequences, test_sequences: found by `setup`.
    """

    def __init__(
        self,
        source: Source,
        augmentation: Callable[..., Augmentation] | None,
        loading: Loading,
        seed: int = 0,
        motion: MotionSource | None = None,
        features: FeatureStore | None = None,
    ) -> None:
        super().__init__()
        self.source, self.augmentation, self.loading, self.seed = source, augmentation, loading, seed
        self.motion, self.features = motion, features
        self._parts: list[Part] = []  # what is trained on
        self.val_sequences: list[Sequence] = []
        self.test_sequences: list[Sequence] = []

    def setup(self, stage: str | None = None) -> None:
        """Find the sequences of `stage` ("fit", "validate", "test"; None: all). Raises BadInput."""
        if stage in (None, "fit", "validate") and not self._parts:
            self._parts, self.val_sequences = self._split()
        if stage in (None, "test") and not self.test_sequences:
            self.test_sequences = self._tested()

    def prepare_data(self) -> None:
        """Before training, and in one process only: all flow and features at once. Raises BadInput."""
        if self.augmentation is None:
            return  # testing only
        self.setup("fit")
        if self.motion is not None:
            self.motion.prepare([*self.train_sequences, *self.val_sequences])
        if self.features is not None:
            self.features.prepare(self.train_sequences)

    @property
    def train_sequences(self) -> list[Sequence]:
        return [sequence for part in self._parts for sequence in part.sequences]

    def _split(self) -> tuple[list[Part], list[Sequence]]:
        """(what to train on, the clips held out)."""
        parts = self.source.parts()
        unlabelled = next((s.name for part in parts for s in part.sequences if not s.labelled), None)
        if unlabelled is not None:
            raise BadInput(
                f"training needs masks, but {unlabelled} of the train stage has none: use labelled data"
            )
        candidates = [s for part in parts if part.validates for s in part.sequences]
        _, held = split_holdout(candidates, self.loading.holdout, self.loading.holdout_seed)
        keys = {s.key for s in held}  # a clip that two parts have is held out of both
        kept = [replace(part, sequences=[s for s in part.sequences if s.key not in keys]) for part in parts]
        return [part for part in kept if part.sequences], held

    def _tested(self) -> list[Sequence]:
        if self.loading.test_split == "holdout":
            return self._split()[1]
        sequences = self.source.sequences("test")
        if self.loading.test_split == "all":
            return sequences
        shared = self._trainable_keys() & {s.key for s in sequences}
        if not shared:
            return sequences
        log.warning(
            "%d of %d test clips are in the training data: testing on the held-out clips instead (give test "
            "data of its own, or data.test_split=all to test on every clip)",
            len(shared),
            len(sequences),
        )
        return self._split()[1]

    def _trainable_keys(self) -> set[str]:
        """Keys of the clips that this data set can be trained on; none where it cannot."""
        try:
            sequences = self.source.sequences("train")
        except BadInput:  # a data set for testing only
            return set()
        return {s.key for s in sequences} if all(s.labelled for s in sequences) else set()

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        loading = self.loading
        if self.augmentation is None:
            raise BadInput("training needs an augmentation: choose one (augmentation=none only resizes)")
        clips = ClipDataset(
            self.train_sequences,
            loading.clip_length,
            augmentation=self.augmentation(size=loading.size),
            stride=loading.clip_stride,
            reverse=loading.reverse,
            clips=loading.clips_per_epoch,
            seed=self.seed,
            weights=frame_weights(self._parts),
            motion=self.motion,
            features=self.features,
        )
        sampler = ClipSampler(len(clips), self.seed)
        return DataLoader(
            clips,
            batch_size=loading.batch_size,
            sampler=sampler,
            # A last batch of one clip upsets batch norm; but some batch there must be.
            drop_last=len(sampler) >= loading.batch_size,
            num_workers=loading.workers,
            persistent_workers=loading.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_start_worker,
            # A generator of its own: otherwise each epoch would draw from the one that initialises models.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return _whole(self.val_sequences)

    def test_dataloader(self) -> DataLoader[Any]:
        return _whole(self.test_sequences)


def _whole(sequences: list[Sequence]) -> DataLoader[Any]:
    """A loader of the sequences themselves: frames are read, and moved, as inference asks for them."""
    rank, world = rank_and_world()
    share: Any = sequences[rank::world]
    return DataLoader(share, batch_size=None, collate_fn=_same, generator=torch.Generator())


def _same(item: Any) -> Any:
    return item


def _start_worker(worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)  # workers are the parallelism; OpenCV's threads would also dead-lock after a fork
