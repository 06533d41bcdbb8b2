"""What a page is about: masks with their scores, and the run that they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data.sequences import Source, VideoSequence, with_masks
from davis_exp.metrics.measures import SELECTED, Measure
from davis_exp.metrics.protocols import THRESHOLD
from davis_exp.results.artifact import Results
from davis_exp.results.check import refuse
from davis_exp.results.confidence import confidences
from davis_exp.results.leaderboard import subject
from davis_exp.results.matching import match
from davis_exp.results.scoring import score
from davis_exp.runs import confidence, metrics
from davis_exp.runs import config as stored
from davis_exp.runs import score as scores
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import Progress


@dataclass(frozen=True)
class Subject:
    """Results on labelled sequences, and their score (the content of score.json)."""

    name: str
    score: dict[str, Any]
    results: Results
    indices: dict[int, int]  # of a frame in the data set → in the results

    def mask(self, sequence: VideoSequence, i: int) -> np.ndarray:
        """The predicted mask of a frame, (H, W) bool. Raises BadInput if it cannot be read."""
        return self.results.confidence(self.indices[sequence.index[i]]) >= THRESHOLD

    def values(self, sequence: str, measure: Measure) -> list[float | None]:
        """A measure of each frame of a sequence; none where the score does not have it."""
        return measure.of_frames(self.score["sequences"][sequence]["raw"])


@dataclass(frozen=True)
class Run:
    """A run's folder, as far as a page shows it; whatever is not there is empty."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # of the config
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)  # group → option
    directory: Path = Path()  # where it was started
    metrics: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # name → (step, value)

    @classmethod
    def of(cls, path: Path) -> "Run | None":
        """The run that `path` is, or that holds these results; None where there is no run's config."""
        folder = subject(path)
        composed = stored.read(folder)
        if composed is None:
            return None
        return cls(folder, **vars(composed), metrics=metrics.read(folder))

    def find(self, path: str | Path) -> Path:
        """A path in the config as it led from where the run was started; as it is, if there is nothing now."""
        there = self.directory / path
        return there if there.exists() else Path(path)


def unscored_subject(path: Path, name: str, sequences: Sequence[VideoSequence]) -> Subject:
    """The results at `path` on sequences without masks. Raises BadInput for results that do not match."""
    results = Results.open(path)
    matched = match(results, sequences)
    refuse(results.path, matched.defects)
    return Subject(name, {}, results, matched.indices)


def trusted(
    path: Path, own: Subject, sequences: Sequence[VideoSequence], progress: Progress | None = None
) -> dict[str, float]:
    """How far each mask of results at `path` is to be trusted: as kept beside them, or else measured."""
    kept = confidence.read(subject(path))
    wanted = [frame for sequence in sequences for frame in sequence.frame_ids]
    if kept and kept.keys() >= set(wanted):
        return {frame: kept[frame] for frame in wanted}
    return confidences(own.results, sequences, own.indices, progress=progress)


def open_subject(
    path: Path, name: str, sequences: Sequence[VideoSequence], *, fresh: bool = False
) -> Subject:
    """The results at `path` on `sequences`, with the score kept beside them, or scored anew where that is of others.

    Raises BadInput for results that cannot be read or do not match.
    """
    results = Results.open(path)
    matched = match(results, sequences)
    refuse(results.path, matched.defects)
    kept = subject(path) / scores.SCORE
    if kept.is_file() and not fresh:
        scored = scores.read(kept)
        if is_of(scored, sequences):
            return Subject(name, scored, results, matched.indices)
    return Subject(name, score(results, sequences), results, matched.indices)


def is_of(scored: dict[str, Any], sequences: Sequence[VideoSequence]) -> bool:
    """Whether a score tells every frame with a mask of just these sequences."""
    own = scored["sequences"]
    try:
        return {name: tuple(own[name]["frames"]) for name in own} == {
            sequence.name: tuple(with_masks(sequence).frame_ids) for sequence in sequences
        } and all(len(own[s.name]["raw"][SELECTED.key]) == len(s.annotated) for s in sequences)
    except (KeyError, TypeError):
        return False


def sequences_of(source: Source, results: Results) -> list[VideoSequence]:
    """The sequences that results are of: all test clips, or else those of either stage that were held out."""
    wanted = set(results.frames or ())
    sequences = source.sequences("test")
    if wanted:
        sequences = _whole(sequences, wanted) or _whole(_train(source), wanted) or sequences
    return sequences


def truth_of(source: Source, results: Results) -> list[VideoSequence]:
    """As `sequences_of`, with masks to compare with. Raises BadInput if the source has none."""
    sequences = sequences_of(source, results)
    for sequence in sequences:
        if not sequence.labelled:
            raise BadInput(
                f"{sequence.name} has no masks to compare with: give a labelled data set as --truth"
            )
    return sequences


def _whole(sequences: Sequence[VideoSequence], wanted: set[str]) -> list[VideoSequence]:
    """The clips that have wanted frames; none where these are only a part of a clip."""
    found = [sequence for sequence in sequences if not wanted.isdisjoint(sequence.frame_ids)]
    return found if all(wanted.issuperset(with_masks(sequence).frame_ids) for sequence in found) else []


def _train(source: Source) -> list[VideoSequence]:
    try:
        return source.sequences("train")
    except BadInput:  # a data set for testing only
        return []
