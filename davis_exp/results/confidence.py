"""How far the masks of results are to be trusted, frame by frame, and whether that foretells their J."""

from collections.abc import Mapping, Sequence
from typing import Any

from davis_exp.data.sequences import Picked, VideoSequence
from davis_exp.inference.confidence import ConfidenceMeter
from davis_exp.metrics.frame_confidence import rank_correlation
from davis_exp.metrics.measures import SELECTED
from davis_exp.results.artifact import Results
from davis_exp.utils.parallel import Progress, ordered


def confidences(
    results: Results,
    sequences: Sequence[VideoSequence],
    indices: Mapping[int, int] | None = None,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, float]:
    """The confidence (0 … 1) of every frame's mask, by the frame's id, in order.

    Args:
        results: the masks.
        sequences: what they are of.
        indices: of a frame in the data set → in the results; frames that are not there are left out. None: all are, as
            they are numbered in the data set.

    Raises BadInput for frames and masks that cannot be read.
    """
    if indices is not None:
        sequences = [
            Picked(sequence, [i for i, index in enumerate(sequence.index) if index in indices])
            for sequence in sequences
        ]
    total = sum(map(len, sequences))
    done = iter(range(1, total + 1))

    def measure(sequence: VideoSequence) -> list[float]:
        meter = ConfidenceMeter()
        for i, index in enumerate(sequence.index):
            meter.add(sequence.frame(i), results.confidence(indices[index] if indices else index))
            if progress:
                progress(next(done), total)
        return meter.values()

    values = ordered(measure, sequences, len(sequences), workers)
    return {
        frame: value
        for sequence, own in zip(sequences, values, strict=True)
        for frame, value in zip(sequence.frame_ids, own, strict=True)
    }


def foretold(values: Mapping[str, float], score: Mapping[str, Any]) -> str | None:
    """A sentence on how well confidences order the frames of a score (content of score.json) by their J."""
    pairs = [
        (values[frame], j)
        for own in score["sequences"].values()
        for frame, j in zip(own["frames"], own["raw"][SELECTED.key], strict=True)
        if frame in values and j is not None
    ]
    rho = rank_correlation(*zip(*pairs, strict=True)) if pairs else None
    if rho is None:
        return None
    return f"confidence: Spearman correlation with {SELECTED.name} over {len(pairs)} frames {rho:.2f}"
