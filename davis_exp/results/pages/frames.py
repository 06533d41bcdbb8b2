"""Frames and masks as small pictures inside a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from davis_exp.data.sequences import VideoSequence
from davis_exp.results.overlay import compared
from davis_exp.results.pages.markup import uri
from davis_exp.results.pages.subject import Subject
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import Progress, ordered

WIDEST, NARROWEST = 640, 240  # pixels
BUDGET = 9_500_000  # bytes of all pictures of a page; a third more as text
PER_PIXEL = 0.12  # bytes that a picture takes, as a rule
MASK = 7_000  # bytes: masks that take more, since they are noise, are halved
QUALITY = 62  # of WebP
STILL = 400  # pixels: width of a still


@dataclass(frozen=True)
class Film:
    """The frames of a sequence, and of each a grey PNG per subject: 1 is the truth, 2 its mask, 3 both.

    A mask that is noise may have half of the frame's width, or a quarter.
    """

    width: int
    height: int
    pictures: list[str]
    masks: list[list[str]]


def width_for(sequences: Sequence[VideoSequence]) -> int:
    """How wide pictures may be so that those of all frames fit into a page."""
    frames = sum(len(sequence) for sequence in sequences) or 1
    pixels = BUDGET / frames / PER_PIXEL
    height, width = sequences[0].size
    return min(WIDEST, width, max(NARROWEST, int(math.sqrt(pixels * width / height))))


def film(
    sequence: VideoSequence,
    subjects: Sequence[Subject],
    width: int,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> Film:
    """All frames of a sequence with the truth and the masks of each subject. Raises BadInput if one cannot be read.

    Where there is no truth the first subject's mask stands in for it, which then has no errors.
    """
    size = _fitted(sequence, width)

    def shoot(i: int) -> tuple[str, list[str]]:
        masks = [subject.mask(sequence, i) for subject in subjects]
        truth = sequence.mask(i) if sequence.labelled else masks[0].astype(np.uint8)
        if {mask.shape for mask in masks} != {truth.shape}:
            raise BadInput(
                f"{sequence.frame_ids[i]}: masks of several sizes; write them at the frame's own size"
            )
        both = [_mask((truth > 0) + 2 * mask.astype(np.uint8), size) for mask in masks]
        return _picture(_resized(sequence.frame(i), size)), both

    shots = list(ordered(shoot, range(len(sequence)), len(sequence), workers, progress))
    return Film(*size, [picture for picture, _ in shots], [masks for _, masks in shots])


def still(sequence: VideoSequence, i: int, subject: Subject) -> tuple[str, int, int]:
    """A frame with truth and mask drawn on it, as a data URI; its width and height."""
    size = _fitted(sequence, STILL)
    own = subject.mask(sequence, i)
    masks = [
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for mask in (own, sequence.mask(i) if sequence.labelled else own)
    ]
    return _picture(compared(_resized(sequence.frame(i), size), *masks), 80), *size


def bare(confidence: np.ndarray) -> str:
    """A confidence map, (H, W) uint8, by itself, as a data URI."""
    height, width = confidence.shape
    size = min(STILL, width), max(1, round(height * min(STILL, width) / width))
    return _picture(_resized(np.repeat(confidence[:, :, None], 3, axis=2), size), 80)


def spread(values: Sequence[float], count: int) -> list[int]:
    """Where the lowest `count` values are, lowest first, no two of them neighbours if there are enough."""
    apart = max(1, len(values) // (2 * count))
    chosen: list[int] = []
    for gap in (apart, 1):  # first well apart, then whatever is left
        for i in sorted(range(len(values)), key=lambda i: (values[i], i)):
            if len(chosen) < count and all(abs(i - other) >= gap for other in chosen):
                chosen.append(i)
    return sorted(chosen, key=lambda i: (values[i], i))


def _fitted(sequence: VideoSequence, width: int) -> tuple[int, int]:
    """(width, height) of pictures, in the shape of the sequence's first frame and never larger."""
    own_height, own_width = sequence.size
    width = min(width, own_width)
    return width, max(1, round(own_height * width / own_width))


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return frame if frame.shape[1::-1] == size else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _picture(frame: np.ndarray, quality: int = QUALITY) -> str:
    colours = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return uri(_encoded(".webp", colours, cv2.IMWRITE_WEBP_QUALITY, quality), "webp")


def _mask(bits: np.ndarray, size: tuple[int, int]) -> str:
    """As a grey PNG of `size` (width, height), or of a half or a quarter of it."""
    for halvings in range(3):
        fitted = tuple(max(1, side >> halvings) for side in size)
        data = _encoded(".png", cv2.resize(bits, fitted, interpolation=cv2.INTER_NEAREST))
        if len(data) <= MASK:
            break
    return uri(data, "png")


def _encoded(suffix: str, picture: np.ndarray, *how: int) -> bytes:
    done, data = cv2.imencode(suffix, picture, how)
    assert done, suffix
    return data.tobytes()
