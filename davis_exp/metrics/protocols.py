"""How the values of frames become a score, in each of the protocols."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from davis_exp.metrics.bits import Bits
from davis_exp.metrics.measures import JUDGED, MEASURES, PROTOCOLS, Measure, Raw
from davis_exp.metrics.statistics import Statistics, average, statistics

THRESHOLD = 128  # round(x / 255) on uint8: 127 is background, 128 foreground


def binarise(confidence: np.ndarray) -> Bits:
    """Foreground of an (H, W) uint8 confidence map, as the judge rounds it."""
    return Bits.of(confidence >= THRESHOLD)


def frame_scores(prediction: Bits, truth: Bits) -> dict[str, float | None]:
    """What each measure of a frame says, by `Measure.key`. Raises ValueError if the masks' sizes differ."""
    return {
        row.key: row(prediction, truth)
        for row in MEASURES.values()
        if row.function is not None and not row.pairs
    }


def pooled(raw: Raw) -> dict[str, Any]:
    """The judge's score of all frames together: the plain mean IoU, frames without any object left out.

    `frames` counts those that enter the mean, `excluded` the others; the score is None if none enters.
    """
    values = JUDGED.of_frames(raw)
    counted = sum(value is not None for value in values)
    means = _means(JUDGED.protocols[0], lambda row: average(row.of_frames(raw)))
    return {**means, "frames": counted, "excluded": len(values) - counted}


def of_sequence(raw: Raw, protocol: str) -> dict[str, Any]:
    """What the measures of `protocol` say of one sequence; None for what `raw` has no values of."""

    def value(row: Measure) -> Any:
        values = row.of_frames(raw, protocol)
        return statistics(values)._asdict() if row.recall_and_decay else average(values)

    return pooled(raw) if PROTOCOLS[protocol].pooled else _means(protocol, value)


def over_sequences(sequences: Sequence[Mapping[str, Any]], protocol: str) -> dict[str, Any]:
    """Mean over sequences of what `of_sequence` gave for each; those without frames are left out."""

    def value(row: Measure) -> Any:
        own = [row.entry({protocol: scores}, protocol) for scores in sequences]
        if not row.recall_and_decay:
            return average(own)
        return {part: average(entry[part] for entry in own) for part in Statistics._fields}

    return _means(protocol, value)


def summary(sequences: Mapping[str, tuple[list[str], Raw]]) -> dict[str, Any]:
    """All protocols, over everything and by sequence, from each sequence's frames: their ids and their values."""
    by_sequence: dict[str, dict[str, Any]] = {
        name: {
            **{protocol: of_sequence(raw, protocol) for protocol in PROTOCOLS},
            "frames": ids,
            "raw": dict(raw),
        }
        for name, (ids, raw) in sequences.items()
    }
    keys = {key for _, raw in sequences.values() for key in raw}
    together = {key: [v for _, raw in sequences.values() for v in raw.get(key, ())] for key in keys}
    totals = {
        name: pooled(together)
        if protocol.pooled
        else over_sequences([own[name] for own in by_sequence.values()], name)
        for name, protocol in PROTOCOLS.items()
    }
    return {**totals, "sequences": by_sequence}


def _means(protocol: str, value: Callable[[Measure], Any]) -> dict[str, Any]:
    """`value` of each measure of the protocol that has a function; of the others the mean of their parts."""
    scores: dict[str, Any] = {}
    for row in MEASURES.values():
        if protocol in row.protocols:
            parts = [MEASURES[part].figure({protocol: scores}, protocol) for part in row.parts]
            own = None if None in parts else average(parts) if parts else value(row)
            scores |= dict.fromkeys(row.mean_keys, own)
    return scores
