"""Training clips: short runs of frames drawn from sequences, each a pure function of (seed, epoch, item)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from davis_exp.data import flow_geometry
from davis_exp.data.features import FeatureStore
from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import VideoSequence, mask_or_empty
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput


class Change(Protocol):
    """What is done to one clip; see ClipChange."""

    def halvings(self, size: tuple[int, int]) -> int:
        """How often frames of `size` (height, width) may be halved before they are given."""

    def __call__(
        self, frames: Sequence[np.ndarray], masks: Sequence[np.ndarray], vectors: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Frames (H, W, 3), masks (H', W') and vectors (T, 2, h, w) or None, all changed alike, with T in front."""


class Augmentation(Protocol):
    """What draws a change for each clip; see ClipAugmentation."""

    @property
    def finest(self) -> tuple[int, int] | None:
        """(height, width) of the largest frames that make a difference; None for as large as there are."""

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> Change:
        """A change for frames of `size`, as `rng` decides."""


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of `length` frames from labelled sequences, addressed by (epoch, item).

    The items of an epoch are spread evenly over all frames, so that long sequences give more clips, or in
    proportion to `weights`. Of a sequence with masks of some frames only, each clip shows one of these at least, and
    what is before and after it. In a sequence too short for the stride drawn, the stride is reduced; in one
    shorter than the clip, the frames run back and forth.

    Args:
        sequences: where clips come from.
        length: frames per clip.
        stride: smallest and largest step between a clip's frames.
        reverse: probability of playing a clip backwards.
        clips: clips per epoch; None for frames / length.
        seed: together with epoch and item it decides everything random.
        augmentation: brings clips to one size, with random changes.
        weights: of the frames of each sequence; None for all alike.
        motion: gives each frame its motion picture; None for clips without.
        flow_gaps: motion leads so many frames on as the clip plays, one of these for each clip; None: as `motion` has it.
            Yang et al. ("Self-supervised Video Object Segmentation by Motion Grouping", ICCV 2021) train on such gaps.
        features: gives clips of a frozen encoder's features instead, unaugmented.

    Raises:
        BadInput: gaps without motion.
    """

    def __init__(
        self,
        sequences: Sequence[VideoSequence],
        length: int,
        *,
        augmentation: Augmentation,
        stride: tuple[int, int] = (1, 3),
        reverse: float = 0.5,
        clips: int | None = None,
        seed: int = 0,
        weights: Sequence[float] | None = None,
        motion: MotionSource | None = None,
        flow_gaps: Sequence[int] | None = None,
        features: FeatureStore | None = None,
    ) -> None:
        if flow_gaps and motion is None:
            raise BadInput(
                "data.flow_gaps: this model takes no motion, or has a network of its own for it; leave it out, or choose "
                "flow=dis or dis_stabilised"
            )
        self.sequences = list(sequences)
        self.length, self.stride, self.reverse, self.seed = length, stride, reverse, seed
        self.augmentation, self.motion, self.features = augmentation, motion, features
        self.flow_gaps = flow_gaps
        self._sparse = any(len(sequence.annotated) < len(sequence) for sequence in self.sequences)
        frames = [len(sequence.annotated) for sequence in self.sequences]
        self._shares = np.array(frames) * np.array(weights or 1.0)
        self._ends = np.cumsum(self._shares)
        self.clips = clips or math.ceil(sum(frames) / length)

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, address: tuple[int, int]) -> dict[str, Any]:
        """Clip (epoch, item): frames and motion (T, 3, H, W) and masks (T, 1, H, W) in {0, 1}, uint8.

        Where any sequence has frames without a mask also "annotated" (T,), bool: the mask of others means nothing.
        With a feature store, "features", one (T, C, h, w) float16 per level, in the place of frames and motion.
        """
        epoch, item = address
        rng = np.random.default_rng([self.seed, epoch, item])
        sequence, indices = self.draw(item, rng)
        known = [i in sequence.annotated for i in indices]
        extra = {"annotated": torch.tensor(known)} if self._sparse else {}
        if self.features is not None:
            return self.features.clip(sequence, indices) | extra
        sequence = sequence.variant((self.seed, epoch, item))
        change = self.augmentation.draw(sequence.size, rng)
        halvings = change.halvings(sequence.size)
        frames = [sequence.reduced(i, halvings) for i in indices]
        if len({frame.shape for frame in frames}) > 1:
            raise BadInput(
                f"the frames of {sequence.name} differ in size: bring them to one size, or split the clip"
            )
        masks = [mask_or_empty(sequence, i) for i in indices]
        # Drawn last, so that all else is what it would be without gaps.
        gap = int(rng.choice(self.flow_gaps)) if self.flow_gaps else None
        images, labels, vectors = change(frames, masks, self._vectors(sequence, indices, gap))
        clip = {"frames": _planes(images), "masks": labels[:, None]}
        if self.motion is not None:
            clip["motion"] = clip["frames"] if vectors is None else flow_geometry.picture(vectors)
        return {name: torch.from_numpy(array) for name, array in clip.items()} | extra

    def _vectors(self, sequence: VideoSequence, indices: list[int], gap: int | None) -> np.ndarray | None:
        """Flow at each frame as the clip plays it, (T, 2, h, w); None where frames are their own pictures."""
        if self.motion is None:
            return None
        found = [self.motion.vectors(sequence, i, gap) for i in indices]
        flows = [flow for flow in found if flow is not None]
        if not flows:
            return None
        ahead = np.diff(indices) if len(indices) > 1 else np.array([1])
        # Played backwards, everything moves the other way.
        played = np.sign(np.append(ahead, ahead[-1]))[: len(indices)].astype(np.float32)
        return np.stack(flows) * played[:, None, None, None]

    def draw(self, item: int, rng: np.random.Generator) -> tuple[VideoSequence, list[int]]:
        """Which sequence and which of its frames make up a clip."""
        anchor = (item % self.clips + rng.random()) * self._ends[-1] / self.clips
        number = min(int(np.searchsorted(self._ends, anchor, side="right")), len(self.sequences) - 1)
        sequence = self.sequences[number]
        # Where in the sequence the anchor lies becomes where among the possible starts the clip begins.
        place = (anchor - (self._ends[number] - self._shares[number])) / self._shares[number]
        stride = int(rng.integers(self.stride[0], self.stride[1] + 1))
        stride = max(1, min(stride, (len(sequence) - 1) // max(1, self.length - 1)))
        if len(sequence.annotated) < len(sequence):
            there = sequence.annotated
            start = there[min(max(int(place * len(there)), 0), len(there) - 1)] - stride * int(
                rng.integers(self.length)
            )
            indices = [_reflect(start + k * stride, len(sequence)) for k in range(self.length)]
            return sequence, indices[::-1] if rng.random() < self.reverse else indices
        starts = max(1, len(sequence) - (self.length - 1) * stride)
        start = min(max(int(place * starts), 0), starts - 1)  # rounding may put `place` just outside [0, 1)
        indices = [_reflect(start + k * stride, len(sequence)) for k in range(self.length)]
        return sequence, indices[::-1] if rng.random() < self.reverse else indices


def _planes(images: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) → (T, 3, H, W), contiguous."""
    planes = np.empty((len(images), 3, *images.shape[1:3]), images.dtype)
    for image, plane in zip(images, planes, strict=True):
        cv2.split(image, list(plane))  # several times as fast as numpy's transposing
    return planes


def _reflect(i: int, n: int) -> int:
    """Index `i` run back and forth over 0 … n-1: 0 1 2 1 0 1 … for n = 3."""
    if n == 1:
        return 0
    i %= 2 * (n - 1)
    return min(i, 2 * (n - 1) - i)


class ClipSampler(Sampler[tuple[int, int]]):
    """(epoch, item) pairs in an order that depends on (seed, epoch) alone, shared out over the ranks of DDP.

    Only whole batches are given out, unless there are too few items for one. Every rank gets the same number; where
    they do not divide, the first items are given out twice.
    Lightning calls `set_epoch`. Its own DistributedSampler must not replace this one
    (`Trainer(use_distributed_sampler=False)`).

    Args:
        clips: items per epoch.
        seed: decides the order, together with the epoch.
        batch: items in a batch, of all ranks together.
        rank, world_size: None asks `distributed` when iterated.
        same: every epoch is the first again.
    """

    def __init__(
        self,
        clips: int,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        *,
        batch: int = 1,
        same: bool = False,
    ) -> None:
        self.clips, self.seed, self.same = clips, seed, same
        self.begin(0)
        self.given = clips // batch * batch or clips
        self._shard = None if rank is None or world_size is None else (rank, world_size)

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.begin(epoch)

    def begin(self, epoch: int, done: int = 0) -> None:
        """Give out this epoch, from where `done` of its items have been given to this rank before.

        Loader processes draw as soon as there is an iterator, which Lightning makes before it sets the epoch.
        """
        self.epoch, self.done = epoch, done

    def __len__(self) -> int:
        return math.ceil(self.given / self._rank_and_world()[1])

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.addresses(self.epoch)[self.done :])

    def addresses(self, epoch: int) -> list[tuple[int, int]]:
        """All that this rank is given in an epoch, in order."""
        epoch = 0 if self.same else epoch
        rank, world = self._rank_and_world()
        order = np.random.default_rng([self.seed, epoch]).permutation(self.clips)[: self.given]
        order = np.resize(order, len(self) * world)  # np.resize starts over at the end
        return [(epoch, int(item)) for item in order[rank::world]]

    def _rank_and_world(self) -> tuple[int, int]:
        return self._shard or (distributed.rank(), distributed.world_size())
