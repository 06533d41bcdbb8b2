"""What all the masks of some sequences have in common, and what is said of it."""

import logging

from davis_exp.data.sequences import VideoSequence, with_masks

log = logging.getLogger(__name__)


def say_sparse(sequences: list[VideoSequence], what: str) -> None:
    """A line where not every frame of labelled sequences has a mask: it may be meant so, or masks may be lost."""
    labelled = [s for s in sequences if s.labelled]
    masks, frames = sum(len(s.annotated) for s in labelled), sum(map(len, labelled))
    if masks < frames:
        log.info("masks: of %d of %d frames; only these are %s", masks, frames, what)


def alike(sequences: list[VideoSequence]) -> str | None:
    """A line that says so, where no mask marks anything, or each marks everything; None where masks differ or lack."""
    seen: set[int] = set()
    if not all(sequence.labelled for sequence in sequences):
        return None
    shown = [with_masks(sequence) for sequence in sequences]
    longest = max(map(len, shown), default=0)
    for sequence, i in ((s, i) for i in range(longest) for s in shown if i < len(s)):
        mask = sequence.annotation(i)
        seen |= {int(mask.inside.min(initial=1)), int(mask.inside.max(initial=0))}
        if len(seen) == 2:
            return None
    if not seen:
        return None
    count, word = sum(map(len, shown)), "full" if 1 in seen else "empty"
    return (
        f"{count} masks are all {word} as they are read: see davis-exp data check, and say by data.masks what marks the "
        "object"
    )
