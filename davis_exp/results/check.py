"""Is this a valid submission? Everything that is wrong with results, one sentence each."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from davis_exp.data.sequences import VideoSequence
from davis_exp.results.artifact import METADATA, PATHS, Results
from davis_exp.results.matching import check_size, match
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.parallel import Progress, ordered

CONTEST_LIMIT = 50_000_000
ZERO_ONE = "no confidence is above 1 of 255: these are 0/1 masks, whose score is 0; write 0 and 255 instead"


def defects(
    path: Path,
    sequences: Sequence[VideoSequence] | None = None,
    *,
    limit: int | None = CONTEST_LIMIT,
    workers: int = 2,
    progress: Progress | None = None,
) -> Iterator[str]:
    """All defects of the results at `path`, against a data set too if `sequences` are given.

    Every mask is decoded, after its header was found to be in order. `limit` is the largest number of
    parameters allowed, None for any.
    """
    try:
        results = Results.open(path, strict=False)
    except BadInput as error:
        yield str(error)
        return
    yield from form_defects(results, sequences, limit)
    sizes = _sizes(results, sequences)

    def problem(index: int) -> tuple[str | None, int]:
        try:
            return None, int(_decoded(results, index, sizes.get(index)).max(initial=0))
        except BadInput as error:
            return str(error), 0

    highest = 0
    for defect, value in ordered(problem, results.paths, len(results.paths), workers, progress):
        highest = max(highest, value)
        if defect:
            yield defect
    if is_zero_one(results, highest):
        yield ZERO_ONE


def is_zero_one(results: Results, highest: int) -> bool:
    """Whether these are masks of 0 and 1, given the highest confidence of all.

    Confidences that a model of ours has written are another thing: none above 1 of 255 says it found nothing.
    """
    return highest == 1 and "config_digest" not in results.metadata


def form_defects(
    results: Results,
    sequences: Sequence[VideoSequence] | None = None,
    limit: int | None = CONTEST_LIMIT,
    *,
    ends: bool = True,
) -> Iterator[str]:
    """What is wrong with results apart from their masks: names, indices, metadata, files left over.

    `ends` as of `match`.
    """
    yield from results.defects
    if not results.plain:
        yield from _metadata_defects(results, limit)
    if not results.paths:
        return  # there is nothing that the rest could be compared with
    if not results.plain:
        yield from _stray_files(results)
    if sequences is not None:
        yield from match(results, sequences, ends=ends).defects


def refuse(path: Path, found: Iterable[str]) -> None:
    """Raises BadInput with the first of the defects and the number of the others, if there is any."""
    listed = list(found)
    if listed:
        look = f"davis-exp check {shlex.quote(str(path))} --data TRUTH"
        more = f" (and {len(listed) - 1} more: {look})" if len(listed) > 1 else ""
        raise BadInput(f"{path}: {listed[0]}{more}")


def _decoded(results: Results, index: int, size: tuple[int, int] | None) -> np.ndarray:
    head = results.header(index)
    if size is not None:
        check_size((head.height, head.width), size, quoted(results.paths[index]))
    return results.confidence(index)


def _sizes(results: Results, sequences: Sequence[VideoSequence] | None) -> dict[int, tuple[int, int]]:
    """The size that each index of the results should have, as far as it is known."""
    if sequences is None:
        return {}
    indices = match(results, sequences).indices
    return {
        indices[index]: sequence.size
        for sequence in sequences
        for index in sequence.index
        if index in indices
    }


def _metadata_defects(results: Results, limit: int | None) -> Iterator[str]:
    if METADATA not in results.files or any(defect.startswith(METADATA) for defect in results.defects):
        return  # said already
    nparams = results.metadata.get("nparams")
    if nparams is None:
        yield f"{METADATA}: nparams is missing: write the number of parameters of all components"
    elif not isinstance(nparams, int) or isinstance(nparams, bool):
        yield f"{METADATA}: nparams is {quoted(nparams)}, not an integer"
    elif nparams <= 0:
        yield f"{METADATA}: nparams is {quoted(nparams)}: write the number of parameters of all components"
    elif limit is not None and nparams > limit:
        yield f"{METADATA}: nparams {nparams:,} is over the limit of {limit:,} by {nparams - limit:,}"
    nflops = results.metadata.get("nflops")
    if nflops is not None and (
        not isinstance(nflops, int | float) or isinstance(nflops, bool) or not nflops >= 0
    ):
        yield f"{METADATA}: nflops is {quoted(nflops)}, not a number"


def _stray_files(results: Results) -> Iterator[str]:
    known = set(results.paths.values())
    for name in sorted(results.files - known):
        if name.lower().endswith(".png"):
            yield f"{quoted(name)} is extra: {PATHS} does not name it; left over from an earlier run?"
