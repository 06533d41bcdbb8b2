"""The object followed over a whole sequence: what of the masks was never part of it is dropped."""

import tempfile
import zlib
from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np

from davis_exp.data import camera
from davis_exp.inference.neighbours import Neighbours, pulled
from davis_exp.utils.errors import BadInput

Weight = Literal["mass", "motion", "speed"]

IN_MEMORY = 2**26  # bytes of packed maps; what is more lies in a temporary file
SMALLEST = 1e-4  # of the frame: smaller parts of a mask go with the nearest that is not
LINKED = (
    0.3  # of the smaller of two parts that the other covers, carried along the flow, to be the same thing
)
ALIKE = 0.25  # of the faster of two parts' speeds, what the other needs to be the same thing as it, by speed
SLOWEST = 0.0005  # of the longer side, a frame: slower is noise, and counts as this much


class Tracks:
    """Parts of masks linked from frame to frame into tracks, and what each track weighs.

    A part is a connected component of a mask. Parts of neighbouring frames that cover each other, once carried along
    the flow, are one track, and so are two tracks that meet; by `speed` only if they move alike, so that what rests is
    not the object for having been touched or passed by it. It holds numbers alone, however large the masks.

    Args:
        neighbours: flow between the frames.
        weight: of a track: its `mass`, the sum of its pixels' probabilities; its `motion`, the same sum of mass times
            speed relative to the camera (`camera.residual`); or its `speed`, motion over mass.
    """

    def __init__(self, neighbours: Neighbours, weight: Weight) -> None:
        self._neighbours, self._weight = neighbours, weight
        self._parent: list[int] = []  # of each part, a part of the same track
        self._mass: list[float] = []  # of each part, where its speed is known
        self._motion: list[float] = []
        self.first: list[int] = []  # part of each frame
        # The last frame's parts, (h, w), with their sizes and speeds.
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def add(self, probability: np.ndarray) -> None:
        """The next frame's map, (h, w) float32."""
        i, (count, labels) = len(self.first), parts(probability)
        first = len(self._parent)
        self.first.append(first)
        self._parent += range(first, first + count)
        flat = labels.ravel()
        mass = np.bincount(flat, probability.ravel(), count + 1)[1:]
        sizes = np.bincount(flat, minlength=count + 1)[1:]
        vectors = self._neighbours.vectors(i, i - 1, labels.shape) if i else None
        if self._weight == "mass":
            speed = np.ones(count)
        elif vectors is None:  # of a first frame no speed is known
            speed = np.full(count, np.nan)
        else:
            # A part's own speed, not its pixels': noise does not add up.
            moved = np.bincount(flat, np.hypot(*camera.residual(vectors)).ravel(), count + 1)[1:]
            speed = np.maximum(moved / np.maximum(sizes, 1) / max(labels.shape), SLOWEST)
        if vectors is not None and self._last is not None and self._last[0].shape == labels.shape:
            self._link(i, labels, sizes, speed, vectors)
        self._mass += np.where(np.isnan(speed), 0, mass).tolist()
        self._motion += np.nan_to_num(mass * speed).tolist()
        self._last = labels, sizes, speed

    def _link(
        self, i: int, labels: np.ndarray, sizes: np.ndarray, speed: np.ndarray, vectors: np.ndarray
    ) -> None:
        assert self._last is not None
        before, sizes_before, speed_before = self._last
        carried = pulled(before.astype(np.float32), vectors, cv2.INTER_NEAREST).astype(np.int64)
        shape = len(sizes) + 1, len(sizes_before) + 1
        pairs = np.bincount((labels * shape[1] + carried).ravel(), minlength=shape[0] * shape[1])
        shared = pairs.reshape(shape)[1:, 1:]  # pixels of each part here and each part there
        if not shared.size:
            return
        linked = shared >= np.maximum(1, LINKED * np.minimum.outer(sizes, sizes_before))
        if self._weight == "speed":
            # What shares most with the same part is surely it; another that does is held against that.
            here, there = speed[shared.argmax(0)], speed_before[shared.argmax(1)]
            linked &= _alike(speed[:, None], here) & _alike(speed_before, there[:, None])
        for part, other in np.argwhere(linked):
            one = self.track(self.first[i] + int(part))
            self._parent[one] = self.track(self.first[i - 1] + int(other))

    def track(self, part: int) -> int:
        """The track of a part, by the number of one of its parts."""
        while self._parent[part] != part:
            self._parent[part] = self._parent[self._parent[part]]
            part = self._parent[part]
        return part

    def kept(self, share: float) -> list[np.ndarray]:
        """Of each frame, whether its parts stay, (parts,) bool: those of tracks that weigh `share` of its heaviest.

        Of the heaviest in that frame: of an object that was lost and found again, or that was hidden by another, no
        piece is dropped for being short. By `speed` the heaviest is what has most motion in the whole sequence: what
        rests goes even where nothing else was found.
        """
        roots = np.array([self.track(part) for part in range(len(self._parent))], np.int64)
        mass, motion = (np.bincount(roots, part, len(roots)) for part in (self._mass, self._motion))
        if self._weight == "speed":
            speed = motion / np.where(mass > 0, mass, np.nan)
            slow = speed < share * speed[np.argmax(motion)] if len(roots) else roots > 0
            return np.split(~slow[roots], self.first[1:])
        frames = np.split(motion[roots], self.first[1:])
        return [own >= share * own.max(initial=0) for own in frames]


def _alike(speed: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether neither is much slower than the other; so it is taken to be where one is not known."""
    return ~(np.minimum(speed, other) < ALIKE * np.maximum(speed, other))


def parts(probability: np.ndarray) -> tuple[int, np.ndarray]:
    """The connected components of a map's mask that are not tiny: how many, and (h, w) int64, 0 outside them."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability >= 0.5).astype(np.uint8))
    large = stats[1:, cv2.CC_STAT_AREA] >= SMALLEST * labels.size
    number = np.zeros(count, np.int64)
    number[1:][large] = 1 + np.arange(np.count_nonzero(large))
    return int(np.count_nonzero(large)), number[labels]


def without(probability: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The map with 0 wherever the nearest of its parts is not `kept` (parts,)."""
    if kept.all():
        return probability
    _, labels = parts(probability)
    _, cells = cv2.distanceTransformWithLabels((labels == 0).astype(np.uint8), cv2.DIST_L2, 5)
    nearest = np.zeros(cells.max() + 1, np.int64)
    nearest[cells[labels > 0]] = labels[labels > 0]
    return np.where(kept[nearest[cells] - 1], probability, 0).astype(np.float32)


def tracked(
    probabilities: Iterator[np.ndarray], neighbours: Neighbours, weight: Weight, share: float
) -> Iterator[np.ndarray]:
    """The maps (h, w) float32 without the tracks that weigh less than `share` of a frame's heaviest, once all are known.

    They wait as numbers of 8 bits, packed. Of a sequence that breaks off (BadInput), what there is comes out first.
    """
    tracks, broken = Tracks(neighbours, weight), None
    places: list[tuple[tuple[int, ...], int]] = []
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as packed:
        try:
            for probability in probabilities:
                map_ = np.rint(probability * 255).astype(np.uint8)
                places.append((map_.shape, packed.write(zlib.compress(map_, 1))))
                tracks.add(_unpacked(map_))
        except BadInput as error:
            broken = error
        packed.seek(0)
        for (shape, size), kept in zip(places, tracks.kept(share), strict=False):
            map_ = np.frombuffer(zlib.decompress(packed.read(size)), np.uint8).reshape(shape)
            yield without(_unpacked(map_), kept)
    if broken is not None:
        raise broken


def _unpacked(map_: np.ndarray) -> np.ndarray:
    return map_.astype(np.float32) / 255
