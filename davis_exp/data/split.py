"""Who is trained on and who is held out, and how often each is drawn."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from davis_exp.data.sequences import Part, VideoSequence
from davis_exp.utils.errors import BadInput

NAMED = 3  # clips that a refusal lists


@dataclass(frozen=True)
class TrainedOn:
    """What a checkpoint has seen: identities of the clips it was trained on, and of those held out then."""

    trained: frozenset[str]
    held_out: frozenset[str]


def check_unseen(learnt_from: Collection[str], held_out: Sequence[VideoSequence]) -> None:
    """Raises ValueError where clips that are held out were learnt from before: they would be no measure any more."""
    known = [sequence.name for sequence in held_out if sequence.identity in learnt_from]
    if known:
        names = ", ".join(known[:NAMED]) + (", …" if len(known) > NAMED else "")
        raise ValueError(
            f"it was trained on {len(known)} of the {len(held_out)} clips that are held out ({names}), which would "
            "then say nothing of others; choose one trained with the same hold-out, or data.holdout=0"
        )


def split_holdout(
    sequences: Sequence[VideoSequence], holdout: float, seed: int, fold: int = 0
) -> tuple[list[VideoSequence], list[VideoSequence]]:
    """Part sequences into (training, held out) by clip: sequences of equal `key` stay together.

    Depends on the clips' number and order and on `seed` alone, so that it survives moving the data set. Both
    parts keep the data set's order and have at least one clip, unless none is to be held out.

    Args:
        sequences: a labelled train stage.
        holdout: a fraction below 1 of the clips, or their number; 0 for none.
        seed: another seed, another order of the clips, which `holdout` cuts into folds.
        fold: which of them is held out. Over all folds every clip is held out once; the last may be smaller.

    Raises:
        BadInput: fewer than two clips, a number that leaves none to train on, or no such fold.
    """
    if not holdout:
        if fold:
            raise BadInput(f"data.fold={fold}: there are no folds with data.holdout=0; leave one of them out")
        return list(sequences), []
    keys = list(dict.fromkeys(s.key for s in sequences))
    if len(keys) < 2:
        raise BadInput(
            f"the training data has {len(keys)} clip(s): it takes one to train on and one to hold out (data.holdout=0 "
            "holds none out)"
        )
    count = int(holdout) if holdout >= 1 else min(max(1, round(holdout * len(keys))), len(keys) - 1)
    if count >= len(keys):
        raise BadInput(
            f"data.holdout={count} leaves none of {len(keys)} training clips to train on: lower it"
        )
    if fold * count >= len(keys):
        raise BadInput(
            f"data.fold={fold}: {len(keys)} clips make the folds 0 to {(len(keys) - 1) // count} of {count}"
        )
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(seed)).tolist()
    held = {keys[i] for i in order[fold * count : (fold + 1) * count]}
    return [s for s in sequences if s.key not in held], [s for s in sequences if s.key in held]


def frame_weights(parts: Sequence[Part]) -> list[float]:
    """What a frame of each sequence weighs in drawing, so that each part gets its share of the clips."""
    masks = [sum(len(sequence.annotated) for sequence in part.sequences) for part in parts]
    return [part.weight / own for part, own in zip(parts, masks, strict=True) for _ in part.sequences]
