"""Two results on the same clips: which is ahead, by how much, and whether that means anything."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.metrics.measures import MEASURES, PROTOCOLS, SELECTED, Measure, columns
from davis_exp.results.leaderboard import subject
from davis_exp.utils.errors import BadInput

RESAMPLES = 10_000
FEWEST = 5  # clips: with fewer, resampling them says little


@dataclass(frozen=True)
class Comparison:
    """B against A, paired by frame, as score.json has the values (0.01 of a share is one point).

    Attributes:
        measure: the name of what is compared.
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
        measure, clips = MEASURES[self.measure], len(self.sequences)
        ahead, behind = (b, a) if (self.difference >= 0) == measure.higher_is_better else (a, b)
        half = (self.interval[1] - self.interval[0]) / 2
        gap = f"{measure.text(abs(self.difference), '.1f')} ± {measure.text(half, '.1f')} {measure.name}"
        on = f"on {clips} clip{'s' if clips != 1 else ''}"
        if self.difference == 0:
            return f"{b} and {a} are level ({gap}) {on}"
        if self.distinguishable:
            return f"{ahead} is ahead of {behind} by {gap} {on}"
        few = f" (it takes {FEWEST} or more to tell)" if clips < FEWEST else ""
        return f"{ahead} is ahead by {gap}, but the two are not distinguishable {on}{few}"


def compare(
    a: dict[str, Any], b: dict[str, Any], *, protocol: str | None = None, measure: str = SELECTED.name
) -> Comparison:
    """Compare two scores (contents of score.json) on the sequences that both have.

    The protocol is the measure's first by default; one that does not have it is compared by the first that it has. The
    overall difference is the mean over sequences, in the contest's protocol over frames. Raises BadInput if they share
    no sequence, or its frames differ.
    """
    compared = MEASURES[measure]
    protocol = protocol or compared.protocols[0]
    if protocol not in compared.protocols:
        compared = columns([], protocol)[0]
    pooled, sign = PROTOCOLS[protocol].pooled, 1 if compared.higher_is_better else -1
    weights, means, better, frames = [], {}, 0, 0
    for name in a["sequences"]:
        if name not in b["sequences"]:
            continue
        first, second = _paired(name, a["sequences"][name], b["sequences"][name], protocol, compared)
        if not len(first):
            continue
        means[name] = (float(first.mean()), float(second.mean()), float((second - first).mean()))
        weights.append(len(first) if pooled else 1)
        better += int((sign * second > sign * first).sum())
        frames += len(first)
    if not means:
        raise BadInput(
            f"the two scores have no frame in common that has its {compared.name}: compare results on one data set"
        )
    differences = np.array([difference for *_, difference in means.values()])
    weight = np.array(weights, float)
    return Comparison(
        compared.name,
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
    name: str, a: dict[str, Any], b: dict[str, Any], protocol: str, measure: Measure
) -> tuple[np.ndarray, np.ndarray]:
    """Values of the frames of one sequence in which both have one."""
    if a.get("frames") != b.get("frames"):
        raise BadInput(f"sequence {name} has other frames in one score than in the other: score both anew")
    for own in (a, b):
        if len(measure.of_frames(own.get("raw") or {})) != len(own["frames"]):
            raise BadInput(
                f"sequence {name} has no values by frame of {measure.name}: score both anew with --json"
            )
    first, second = (np.array(measure.of_frames(own["raw"], protocol), float) for own in (a, b))
    kept = ~np.isnan(first + second)  # an empty frame has no value in the contest
    return first[kept], second[kept]


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
