"""Results against the truth: every frame once, all measures and protocols at a time."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from davis_exp.data.sequences import Picked, VideoSequence, with_masks
from davis_exp.metrics.bits import Bits
from davis_exp.metrics.jaccard import iou
from davis_exp.metrics.measures import MEASURES, Measure
from davis_exp.metrics.protocols import binarise, frame_scores, summary
from davis_exp.metrics.stability import marked
from davis_exp.metrics.statistics import average
from davis_exp.results.artifact import Results
from davis_exp.results.check import ZERO_ONE, is_zero_one, refuse
from davis_exp.results.matching import check_size, match
from davis_exp.results.truth import Truth
from davis_exp.runs.score import ABOUT
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.parallel import Progress, ordered

log = logging.getLogger(__name__)

BASELINES = ("everything", "centre ellipse")


class _Frame(NamedTuple):
    scores: dict[str, float | None]
    baselines: list[float | None]
    highest: int


def score(
    results: Results,
    sequences: Sequence[VideoSequence],
    *,
    stability: Sequence[str] | None = None,
    ends: bool = True,
    workers: int = 2,
    truth: Truth | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score results against labelled sequences: the content of score.json.

    Frames are compared by `workers` threads, one frame in memory each. `stability` adds T for the sequences
    of these names, for those that are `marked` if it is empty. `truth` may keep packed masks. Frames that have no true
    mask are left out. Without `ends`, the first and last frames of sequences may be missing from a plain folder; where
    they are, there is no score but that of `davis2016`. Raises BadInput for whatever does not match the truth or cannot
    be read.
    """
    matched = match(results, sequences, ends=ends)
    refuse(results.path, matched.defects)
    if matched.by == "index":
        log.warning("%s names no frames: they are matched to the truth by their order alone", results.path)
    for sequence in sequences:
        if not sequence.labelled:
            raise BadInput(f"{sequence.name} has no masks to score against: give a labelled data set")
    whole, sequences = sequences, [with_masks(sequence) for sequence in sequences]
    inner = not all(index in matched.indices for sequence in sequences for index in sequence.index)
    if inner:
        sequences = [Picked(sequence, range(1, len(sequence) - 1)) for sequence in sequences]
    truth = truth or Truth()
    truth.prepare(sequences, workers)

    def evaluate(task: tuple[VideoSequence, int]) -> _Frame:
        sequence, i = task
        index = matched.indices[sequence.index[i]]
        confidence = results.confidence(index)
        target, void = truth.annotation(sequence, i)
        check_size(confidence.shape, target.shape, quoted(results.paths[index]))
        trivial = [iou(mask.without(void), target) for mask in _trivial(target.shape)]
        scores = frame_scores(binarise(confidence).without(void), target)
        return _Frame(scores, trivial, int(confidence.max(initial=0)))

    total = sum(len(sequence) for sequence in sequences)
    frames = list(ordered(evaluate, _frames(sequences), total, workers, progress))
    if is_zero_one(results, max((frame.highest for frame in frames), default=0)):
        raise BadInput(f"{results.path}: {ZERO_ONE}")
    _refuse_alike([frame.baselines[0] for frame in frames])
    scores = [frame.scores for frame in frames]
    if stability is not None:

        @lru_cache(maxsize=16)
        def predicted(index: int) -> Bits:
            if index not in matched.indices:
                raise BadInput(
                    "stability: it takes a mask of every frame, also of those that have no true one"
                )
            return binarise(results.confidence(matched.indices[index]))

        chosen = _steadied(sequences if inner else whole, stability)
        indices = [index for sequence in sequences for index in sequence.index]
        for measure in MEASURES.values():
            if measure.pairs:
                found = _between(measure, chosen, predicted, workers, progress)
                for index, own in zip(indices, scores, strict=True):
                    own[measure.key] = found.get(index)
    if inner:
        return _without_ends(_summary(sequences, scores))
    return {
        **_summary(sequences, scores),
        "baselines": _baseline_scores(frame.baselines for frame in frames),
        "matched_by": matched.by,
        **{
            key: value
            for key in ABOUT
            if (value := results.metadata.get(key)) is not None and ABOUT[key](value)
        },
    }


def _refuse_alike(overlaps: list[float | None]) -> None:
    """Raises BadInput where no true mask marks anything, or each marks everything, by their overlap with everything."""
    for overlap_, word in ((0.0, "empty"), (1.0, "full")):
        if overlaps and all(value in (overlap_, None) for value in overlaps):
            raise BadInput(
                f"all {len(overlaps)} true masks are {word} as they are read, and a score would say nothing: see "
                "davis-exp data check, and say by --masks (of a run: data.masks) what marks the object"
            )


def baselines(sequences: Sequence[VideoSequence], *, workers: int = 2) -> dict[str, float | None]:
    """Contest score on labelled sequences of two predictions that look at no frame.

    `everything` is foreground throughout; `centre ellipse` fills half the height and half the width.
    """
    truth, sequences = Truth(), [with_masks(sequence) for sequence in sequences]

    def evaluate(task: tuple[VideoSequence, int]) -> list[float | None]:
        target, void = truth.annotation(*task)
        return [iou(mask.without(void), target) for mask in _trivial(target.shape)]

    total = sum(len(sequence) for sequence in sequences)
    return _baseline_scores(ordered(evaluate, _frames(sequences), total, workers))


def _frames(sequences: Sequence[VideoSequence]) -> Iterator[tuple[VideoSequence, int]]:
    return ((sequence, i) for sequence in sequences for i in range(len(sequence)))


def _steadied(sequences: Sequence[VideoSequence], names: Sequence[str]) -> list[VideoSequence]:
    there = [sequence.name for sequence in sequences]
    unknown = set(names).difference(there)
    if unknown:
        raise BadInput(f"stability: the data set has no sequence {quoted(min(unknown))}")
    chosen = names or marked(there)
    if not chosen:
        raise BadInput(
            f"stability: the official T leaves out {', '.join(there)}: name the sequences to measure it on"
        )
    return [sequence for sequence in sequences if sequence.name in chosen]


def _between(
    measure: Measure,
    sequences: Sequence[VideoSequence],
    predicted: Callable[[int], Bits],
    workers: int,
    progress: Progress | None,
) -> dict[int, float | None]:
    """A measure from each frame's mask to the next one's, by the index of the former."""
    pairs = [pair for sequence in sequences for pair in pairwise(sequence.index)]
    values = ordered(
        lambda pair: measure(predicted(pair[0]), predicted(pair[1])), pairs, len(pairs), workers, progress
    )
    return {first: value for (first, _), value in zip(pairs, values, strict=True)}


def _summary(sequences: Sequence[VideoSequence], frames: Iterable[dict[str, float | None]]) -> dict[str, Any]:
    remaining = iter(frames)
    keys = [measure.key for measure in MEASURES.values() if measure.function is not None]
    found = {}
    for sequence in sequences:
        own = list(islice(remaining, len(sequence)))
        raw = {key: [frame.get(key) for frame in own] for key in keys}
        found[sequence.name] = (list(sequence.frame_ids), raw)
    return summary(found)


def _without_ends(content: dict[str, Any]) -> dict[str, Any]:
    """What is left of a summary of frames without the first and last of each sequence: `davis2016` takes the others."""
    return {
        "davis2016": content["all_frames"],
        "sequences": {
            name: {"davis2016": own["all_frames"], "frames": own["frames"]}
            for name, own in content["sequences"].items()
        },
    }


@lru_cache(maxsize=8)
def _trivial(shape: tuple[int, int]) -> tuple[Bits, ...]:
    """The baselines' masks for a frame of this size, in the order of BASELINES."""
    height, width = shape
    y, x = np.ogrid[:height, :width]
    ellipse = ((2 * y + 1 - height) / height) ** 2 + ((2 * x + 1 - width) / width) ** 2 <= 0.25
    return Bits.of(np.ones(shape, bool)), Bits.of(ellipse)


def _baseline_scores(frames: Iterable[list[float | None]]) -> dict[str, float | None]:
    columns = list(zip(*frames, strict=True)) or [()] * len(BASELINES)
    return {name: average(column) for name, column in zip(BASELINES, columns, strict=True)}
