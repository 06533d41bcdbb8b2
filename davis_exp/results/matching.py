"""Which of the results' files belongs to which frame of the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from davis_exp.data.sequences import VideoSequence, with_masks
from davis_exp.results.artifact import PATHS, Results
from davis_exp.utils.errors import BadInput, quoted


@dataclass
class Matching:
    """Which index of the results shows each frame of the truth.

    Attributes:
        by: "index and name"; "index", where the results do not name their frames; "name" in a plain folder.
        indices: index in the data set → index in the results.
        defects: what does not match, one sentence each.
    """

    by: str
    indices: dict[int, int] = field(default_factory=dict)
    defects: list[str] = field(default_factory=list)


def match(results: Results, sequences: Sequence[VideoSequence], *, ends: bool = True) -> Matching:
    """Match results to a data set by index, and by name where they have names; sizes are not looked at.

    In a plain folder, sequences that the data set does not have are left aside: people score parts of it. There it takes
    the frames that have a true mask; without `ends` not the first and the last of these.
    """
    return _by_name(results, sequences, ends) if results.plain else _by_index(results, sequences)


def _by_index(results: Results, sequences: Sequence[VideoSequence]) -> Matching:
    matching = Matching("index and name" if results.frames is not None else "index")
    wanted = _frames(sequences)
    named = dict(zip(results.paths, results.frames or (), strict=False))
    for index, frame in wanted.items():
        if index not in results.paths:
            matching.defects.append(f"{PATHS}: index {index} ({frame}) is missing")
        elif named.get(index, frame) != frame:
            matching.defects.append(
                f"index {index} is {quoted(named[index])} here and {frame} in the truth: "
                "made on another data set, or in another order"
            )
        else:
            matching.indices[index] = index
    for index in results.paths.keys() - wanted.keys():
        matching.defects.append(
            f"{PATHS}: index {index} ({quoted(results.paths[index])}) is extra: "
            f"the truth has {len(wanted)} frames"
        )
    return matching


def _by_name(results: Results, sequences: Sequence[VideoSequence], ends: bool) -> Matching:
    matching = Matching("name")
    found = {frame: index for index, frame in zip(results.paths, results.frames or (), strict=True)}
    wanted = _frames(sequences)
    masked = [list(_frames([with_masks(sequence)])) for sequence in sequences]
    inner = {index for indices in masked for index in indices[1:-1]}
    needed = {index for indices in masked for index in indices} if ends else inner
    for index, frame in wanted.items():
        if frame in found:
            matching.indices[index] = found[frame]
        elif index in needed:
            hint = (
                ""
                if index in inner
                else " (davis-exp score --protocol davis2016 does without the two end frames)"
            )
            matching.defects.append(f"{frame}.png is missing{hint}")
    names = {sequence.name for sequence in sequences}
    for frame in sorted(found.keys() - set(wanted.values())):
        if frame.partition("/")[0] in names:
            matching.defects.append(f"{quoted(frame)}.png is extra: the truth has no such frame")
    return matching


def check_size(own: tuple[int, int], truth: tuple[int, int], name: str) -> None:
    """Raises BadInput unless a mask of this (height, width) fits its frame."""
    if own != truth:
        raise BadInput(
            f"{name} is {own[1]}x{own[0]} pixels where the frame has {truth[1]}x{truth[0]}: "
            "write masks at the frame's own size"
        )


def _frames(sequences: Sequence[VideoSequence]) -> dict[int, str]:
    return {
        index: frame
        for sequence in sequences
        for index, frame in zip(sequence.index, sequence.frame_ids, strict=True)
    }
