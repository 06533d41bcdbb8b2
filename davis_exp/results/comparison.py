"""Two results on the same clips: which is ahead, by how much, and whether that means anything."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.results.leaderboard import subject
from davis_exp.utils.errors import BadInput

MEASURES = ("J", "F", "J&F")
RESAMPLES = 10_000
FEWEST = 5  # clips: with fewer, resampling them says little


@dataclass(frozen=True)
class Comparison:
    """B against A, paired by frame, in fractions (0.01 is one point).

    Attributes:
        measure: what is compared ("J", "F", "J&F"; "IoU" in the contest's protocol).
        sequences: mean of A, of B and of their paired differences, by sequence.
        difference: B - A over all sequences.
        interval: its 95 % percentile bootstrap interval over sequences.
        better: share of the frames in which B is strictly better.
        decided_by: the fewest sequences that make up half of all difference, largest first.
    """

    measure: str
    sequences: dict[str, tuple[float, float, float]]
    difference: float
    interval: tuple[float, float]
    better: float
    decided_by: list[str]

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves zero out, on enough clips for that to mean something."""
        low, high = self.interval
        return len(self.sequences) >= FEWEST and (low > 0 or high < 0)

    def sentence(self, a: str, b: str) -> str:
        """The outcome in plain words."""
        ahead, behind = (b, a) if self.difference >= 0 else (a, b)
        half = (self.interval[1] - self.interval[0]) / 2
        clips = len(self.sequences)
        gap = f"{100 * abs(self.difference):.1f} ± {100 * half:.1f} {self.measure}"
        on = f"on {clips} clip{'s' if clips != 1 else ''}"
        if self.difference == 0:
            return f"{b} and {a} are level ({gap}) {on}"
        if self.distinguishable:
            return f"{ahead} is ahead of {behind} by {gap} {on}"
        few = f" (it takes {FEWEST} or more to tell)" if clips < FEWEST else ""
        return f"{ahead} is ahead by {gap}, but the two are not distinguishable {on}{few}"


def compare(
    a: dict[str, Any], b: dict[str, Any], *, protocol: str = "davis2016", measure: str = "J"
) -> Comparison:
    """Compare two scores (contents of score.json) on the sequences that both have.

    The overall difference is the mean over sequences, in the contest's protocol over frames. Raises BadInput
    if they share no sequence, or its frames differ.
    """
    weights, means, better, frames = [], {}, 0, 0
    for name in a["sequences"]:
        if name not in b["sequences"]:
            continue
        first, second = _paired(name, a["sequences"][name], b["sequences"][name], protocol, measure)
        if not len(first):
            continue
        means[name] = (float(first.mean()), float(second.mean()), float((second - first).mean()))
        weights.append(len(first) if protocol == "contest" else 1)
        better += int((second > first).sum())
        frames += len(first)
    if not means:
        raise BadInput("the two scores have no frame in common: compare results on one data set")
    differences = np.array([difference for *_, difference in means.values()])
    weight = np.array(weights, float)
    return Comparison(
        "IoU" if protocol == "contest" else measure,
        means,
        float(np.average(differences, weights=weight)),
        _bootstrap(differences, weight),
        better / frames,
        _decisive(dict(zip(means, differences * weight, strict=True))),
    )


def short_names(paths: Sequence[Path]) -> list[str]:
    """As much of the ends of the paths as tells them apart; a date alone is no name."""
    parts = [subject(path).parts for path in paths]
    if len(set(parts)) < len(parts):
        raise BadInput("one score is given twice: name each run once")
    dated = any(re.match(r"\d{4}-\d\d-\d\d_", own[-1]) for own in parts)
    depth = next(
        n
        for n in range(1 + dated, max(map(len, parts)) + 2)
        if len({own[-n:] for own in parts}) == len(parts)
    )
    return ["/".join(own[-depth:]) for own in parts]


def _paired(
    name: str, a: dict[str, Any], b: dict[str, Any], protocol: str, measure: str
) -> tuple[np.ndarray, np.ndarray]:
    """Values of the frames of one sequence in which both have one."""
    if a.get("frames") != b.get("frames"):
        raise BadInput(f"sequence {name} has other frames in one score than in the other: score both anew")
    parts = ("iou",) if protocol == "contest" else ("J", "F") if measure == "J&F" else (measure,)
    try:
        values = [np.mean([np.array(own["raw"][part], float) for part in parts], axis=0) for own in (a, b)]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"sequence {name} has no values by frame: score both anew with --json") from error
    kept = ~np.isnan(values[0] + values[1])  # an empty frame has no value in the contest
    if protocol == "davis2016":
        kept[[0, -1]] = False
    return values[0][kept], values[1][kept]


def _bootstrap(differences: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of the weighted mean when clips are drawn anew with replacement; seeded."""
    drawn = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    means = (differences * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _decisive(shares: dict[str, float]) -> list[str]:
    total, sum_so_far, names = sum(map(abs, shares.values())), 0.0, []
    for name in sorted(shares, key=lambda name: -abs(shares[name])):
        if sum_so_far >= total / 2:
            break
        names.append(name)
        sum_so_far += abs(shares[name])
    return names
