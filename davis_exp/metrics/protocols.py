"""The three named ways to turn the frames of sequences into a score.

`contest` is what the judge computes, `davis2016` the official evaluation of the data set, `all_frames` the
same without dropping frames, as the code of most unsupervised papers does.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from davis_exp.metrics.bits import Bits, overlap
from davis_exp.metrics.boundary import boundary, boundary_f
from davis_exp.metrics.stability import SCALE
from davis_exp.metrics.statistics import average, statistics

THRESHOLD = 128  # round(x / 255) on uint8: 127 is background, 128 foreground


def binarise(confidence: np.ndarray) -> Bits:
    """Foreground of an (H, W) uint8 confidence map, as the judge rounds it."""
    return Bits.of(confidence >= THRESHOLD)


class FrameScores(NamedTuple):
    """Scores of one frame.

    `iou` is None where both masks are empty, which the contest leaves out; `T` is the instability from this
    predicted mask to the next one, None where it was not measured or a mask is empty.
    """

    iou: float | None
    J: float
    F: float
    T: float | None = None


def frame_scores(prediction: Bits, truth: Bits) -> FrameScores:
    """Compare two masks of one size. Raises ValueError if the sizes differ."""
    intersection, union = overlap(prediction, truth)
    iou = intersection / union if union else None
    f = boundary_f(boundary(prediction), boundary(truth))
    return FrameScores(iou, 1.0 if iou is None else iou, f)


def contest(ious: Iterable[float | None]) -> dict[str, Any]:
    """The judge's score of all frames together: the plain mean IoU, frames without any object left out.

    `frames` counts those that enter the mean, `excluded` the others; the score is None if none enters.
    """
    values = list(ious)
    mean = average(values)
    counted = sum(value is not None for value in values)
    return {
        "segmentation_metric": mean,
        "mean_iou": mean,
        "frames": counted,
        "excluded": len(values) - counted,
    }


def sequence_statistics(frames: list[FrameScores], protocol: str) -> dict[str, Any]:
    """J, F and T of one sequence; `davis2016` drops its first and last frame, `all_frames` none.

    T is five times the mean of its pairs of frames, as in all published figures.
    """
    kept = frames[1:-1] if protocol == "davis2016" else frames
    scores: dict[str, Any] = {
        "J": statistics(frame.J for frame in kept)._asdict(),
        "F": statistics(frame.F for frame in kept)._asdict(),
    }
    t = average(frame.T for frame in kept[:-1])
    return {**_with_mean(scores), "T": None if t is None else SCALE * t}


def over_sequences(sequences: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over sequences of what `sequence_statistics` gave for each; those without frames are left out."""
    scores: dict[str, Any] = {
        measure: {
            name: average(sequence[measure][name] for sequence in sequences.values())
            for name in ("mean", "recall", "decay")
        }
        for measure in ("J", "F")
    }
    return {**_with_mean(scores), "T": average(sequence["T"] for sequence in sequences.values())}


def summary(sequences: Mapping[str, tuple[list[str], list[FrameScores]]]) -> dict[str, Any]:
    """All protocols, over everything and by sequence, from each sequence's frames: their ids and their scores."""
    by_sequence: dict[str, dict[str, Any]] = {
        name: {
            "contest": contest(frame.iou for frame in frames),
            "davis2016": sequence_statistics(frames, "davis2016"),
            "all_frames": sequence_statistics(frames, "all_frames"),
            "frames": ids,
            "raw": {key: [getattr(frame, key) for frame in frames] for key in FrameScores._fields},
        }
        for name, (ids, frames) in sequences.items()
    }
    return {
        "contest": contest(frame.iou for _, frames in sequences.values() for frame in frames),
        "davis2016": over_sequences({name: own["davis2016"] for name, own in by_sequence.items()}),
        "all_frames": over_sequences({name: own["all_frames"] for name, own in by_sequence.items()}),
        "sequences": by_sequence,
    }


def _with_mean(scores: dict[str, Any]) -> dict[str, Any]:
    j, f = scores["J"]["mean"], scores["F"]["mean"]
    return {**scores, "J&F": None if j is None or f is None else (j + f) / 2}
