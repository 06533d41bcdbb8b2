"""From a source to loaders: the hold-out split, training clips in batches, whole sequences for evaluation."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from davis_exp.data.clips import Augmentation, ClipDataset, ClipSampler
from davis_exp.data.decoded import GB, DecodedMotion, DecodedStore
from davis_exp.data.features import FeatureStore
from davis_exp.data.flow import MotionSource
from davis_exp.data.labels import alike, say_sparse
from davis_exp.data.loaders import start_worker, whole
from davis_exp.data.loading import Loading
from davis_exp.data.sequences import Part, Source, VideoSequence
from davis_exp.data.split import TrainedOn, frame_weights, split_holdout
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput

log = logging.getLogger(__name__)


class ClipDataModule(pl.LightningDataModule):
    """Loaders over a source.

    Training batches are {"frames": uint8 (B,T,3,H,W), "masks": uint8 (B,T,1,H,W) in {0,1}}, with "motion" like
    the frames where there is a motion source; a pure function of (seed, epoch, item) and so the same for any
    number of workers. Validation reads the held-out training clips and testing the test stage; both loaders
    yield whole `VideoSequence` objects, under DDP each rank its own, and None where another has more.

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
        same_batches: whether every epoch draws what the first does, to overfit.
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
        self.same_batches = False
        self.trained_on: TrainedOn | None = None  # of the checkpoint that is tested, if none is trained
        self._parts: list[Part] = []  # what is trained on
        self._store: DecodedStore | None = None  # lives as long as workers may ask it for what is in memory
        self._decoded: list[VideoSequence] | None = None
        self.val_sequences: list[VideoSequence] = []
        self.test_sequences: list[VideoSequence] = []

    def setup(self, stage: str | None = None) -> None:
        """Find the sequences of `stage` ("fit", "validate", "test"; None: all). Raises BadInput."""
        if stage in (None, "fit", "validate") and not self._parts:
            self._parts, self.val_sequences = self._split()
            say_sparse([*self.train_sequences, *self.val_sequences], "trained on and validated")
        if stage in (None, "test") and not self.test_sequences:
            self.test_sequences = self._tested()
            say_sparse(self.test_sequences, "scored")
            if said := alike(self.test_sequences):
                log.warning("the test data's %s", said)

    def prepare_data(self) -> None:
        """Before training or testing, and in one process only: all flow and features at once. Raises BadInput."""
        gaps = self._flow_gaps()
        if self.trainer is not None and self.trainer.testing:
            self.setup("test")
            if self.motion is not None:
                self.motion.prepare(self.test_sequences, gaps)
            return
        if self.augmentation is None:
            return  # testing only
        self.setup("fit")
        if self.motion is not None:
            self.motion.prepare(self.train_sequences, self.loading.flow_gaps or (None,))
            self.motion.prepare(self.val_sequences, gaps)
        if self.features is not None:
            self.features.prepare(self.train_sequences)
        elif self.loading.cache == "disk":
            self._read_from()

    def _flow_gaps(self) -> Sequence[int | None]:
        """Of the flow that whole sequences are run with."""
        how = getattr(getattr(self.trainer, "lightning_module", None), "inference", None)
        return getattr(how, "flow_gaps", None) or (None,)

    @property
    def train_sequences(self) -> list[VideoSequence]:
        return [sequence for part in self._parts for sequence in part.sequences]

    def _split(self) -> tuple[list[Part], list[VideoSequence]]:
        """(what to train on, the clips held out)."""
        parts = self.source.parts()
        unlabelled = next((s.name for part in parts for s in part.sequences if not s.labelled), None)
        if unlabelled is not None:
            raise BadInput(
                f"training needs masks, but {unlabelled} of the train stage has none: use labelled data"
            )
        for part in parts:
            if said := alike(part.sequences):
                raise BadInput(f"the training data's {said}")
        candidates = [s for part in parts if part.validates for s in part.sequences]
        loading = self.loading
        _, held = split_holdout(candidates, loading.holdout, loading.holdout_seed, loading.fold)
        keys = {s.key for s in held}  # a clip that two parts have is held out of both
        kept = [replace(part, sequences=[s for s in part.sequences if s.key not in keys]) for part in parts]
        return [part for part in kept if part.sequences], held

    def _tested(self) -> list[VideoSequence]:
        if self.trained_on is not None:
            return self._tested_after(self.trained_on)
        if self.loading.test_split == "holdout":
            if held := self._split()[1]:
                return held
            raise BadInput(
                "data.test_split=holdout: data.holdout=0 holds no clip out; test on others, as data.test_split=test"
            )
        sequences = self.source.sequences("test")
        if self.loading.test_split == "all":
            return sequences
        shared = self._trainable_keys() & {s.key for s in sequences}
        if not shared:
            return sequences
        if not self.loading.holdout:
            log.warning(
                "%d of %d test clips are in the training data, and none is held out: their scores say nothing of new clips",
                len(shared),
                len(sequences),
            )
            return sequences
        log.warning(
            "%d of %d test clips are in the training data: testing on the held-out clips instead (give test "
            "data of its own, or data.test_split=all to test on every clip)",
            len(shared),
            len(sequences),
        )
        return self._split()[1]

    def _tested_after(self, trained_on: TrainedOn) -> list[VideoSequence]:
        if self.loading.test_split == "holdout":
            held = [s for s in self.source.sequences("train") if s.identity in trained_on.held_out]
            if not held:
                raise BadInput(
                    "data.test_split=holdout: none of the checkpoint's held-out clips is in this data set's train "
                    "stage; give the data that it was trained on, or data.test_split=test"
                )
            return held
        sequences = self.source.sequences("test")
        seen = [s.name for s in sequences if s.identity in trained_on.trained]
        if seen:
            log.warning(
                "%d of %d test clips were trained on (%s …): their scores say nothing of new clips",
                len(seen),
                len(sequences),
                seen[0],
            )
        return sequences

    def _trainable_keys(self) -> set[str]:
        """Keys of the clips that this data set can be trained on; none where it cannot."""
        try:
            sequences = self.source.sequences("train")
        except BadInput:  # a data set for testing only
            return set()
        return {s.key for s in sequences} if all(s.labelled for s in sequences) else set()

    def _read_from(self) -> list[VideoSequence]:
        """What clips are drawn from: the training sequences, decoded where that is kept."""
        assert self.augmentation is not None
        if self._decoded is None:
            loading = self.loading
            ranks = distributed.world_size() if loading.cache == "ram" else 1  # each keeps its own in memory
            limit, size = int(loading.cache_gb * GB) // ranks, self.augmentation(size=loading.size).finest
            self._store = DecodedStore(loading.cache, limit, size, self.motion)
            self._decoded = self._store.keep(self.train_sequences)
        return self._decoded

    @property
    def batch_size(self) -> int:
        """Clips in a batch; Lightning's finder sets it."""
        return self.loading.batch_size

    @batch_size.setter
    def batch_size(self, clips: int) -> None:
        self.loading = dataclasses.replace(self.loading, batch_size=clips)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        loading = self.loading
        if self.augmentation is None:
            raise BadInput("training needs an augmentation: choose one (augmentation=none only resizes)")
        decoded = loading.cache != "none" and self.features is None
        clips = ClipDataset(
            self._read_from() if decoded else self.train_sequences,
            loading.clip_length,
            augmentation=self.augmentation(size=loading.size),
            stride=loading.clip_stride,
            reverse=loading.reverse,
            clips=loading.clips_per_epoch,
            seed=self.seed,
            weights=frame_weights(self._parts),
            motion=DecodedMotion(self.motion) if decoded and self.motion is not None else self.motion,
            flow_gaps=loading.flow_gaps,
            features=self.features,
        )
        world = distributed.world_size()
        if loading.batch_size % world:
            raise BadInput(
                f"data.batch_size={loading.batch_size} cannot be shared out evenly over {world} devices: set it to "
                f"a multiple of {world}"
            )
        return DataLoader(
            clips,
            batch_size=loading.batch_size // world,
            # A last batch of one clip would upset batch norm; but some batch there must be.
            sampler=ClipSampler(len(clips), self.seed, batch=loading.batch_size, same=self.same_batches),
            num_workers=loading.workers,
            persistent_workers=loading.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=start_worker,
            # A generator of its own: otherwise each epoch would draw from the one that initialises models.
            generator=torch.Generator().manual_seed(self.seed),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return whole(self.val_sequences)

    def test_dataloader(self) -> DataLoader[Any]:
        return whole(self.test_sequences)
