"""Several sources trained on together, each with its share of the clips."""

import copy
from collections.abc import Mapping
from typing import Any

from davis_exp.data.sequences import Part, Source, VideoSequence
from davis_exp.utils.errors import BadInput

KEYS = {"source", "weight", "validate"}


class MixSource(Source):
    """A mixture of sources; the first is the one that is tested on.

    Args:
        parts: by name: `source` (a built one); `weight`, its share of the training clips relative to the
            others' (1); `validate`, whether its clips may be held out (only the first part's may, unless
            said otherwise; stills never may, since they are no video).

    Raises:
        BadInput: no parts, or a part that cannot be used; named by its config key.
    """

    def __init__(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        if not parts:
            raise BadInput("data.parts: empty; give at least one, as data.parts.<name>.source and .weight")
        for number, (name, part) in enumerate(parts.items()):
            unknown = sorted(set(part) - KEYS)
            if unknown or not isinstance(part.get("source"), Source):
                raise BadInput(
                    f"data.parts.{name}: a part has a `source` (with its `_target_`), and may have a `weight` "
                    f"and `validate`{'; there is no ' + unknown[0] if unknown else ''}"
                )
            weight = part.get("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
                raise BadInput(f"data.parts.{name}.weight must be above 0, got {weight!r}")
            if not isinstance(part.get("validate", number == 0), bool):
                raise BadInput(f"data.parts.{name}.validate must be true or false, got {part['validate']!r}")
        if not any(part.get("validate", number == 0) for number, part in enumerate(parts.values())):
            raise BadInput("data.parts: no part may be held out for validation; set one's validate to true")
        self._parts = dict(parts)

    def sequences(self, stage: str) -> list[VideoSequence]:
        """For training all parts' sequences, indexed one after the other; for testing the first part's."""
        if stage == "train":
            return [sequence for part in self.parts() for sequence in part.sequences]
        first = next(iter(self._parts))
        return self._ask(first, stage)

    def parts(self) -> list[Part]:
        """The parts' train stages. Raises BadInput naming the part whose data is not there."""
        made: list[Part] = []
        first = 0
        for number, (name, part) in enumerate(self._parts.items()):
            sequences = []
            for sequence in self._ask(name, "train"):
                sequence = copy.copy(sequence)
                sequence.index = tuple(range(first, first + len(sequence)))
                first += len(sequence)
                sequences.append(sequence)
            validates = part.get("validate", number == 0)
            if validates and any(sequence.still for sequence in sequences):
                raise BadInput(
                    f"data.parts.{name}.validate: still images are no video to validate on; set it to false"
                )
            made.append(Part(sequences, float(part.get("weight", 1.0)), validates))
        return made

    def _ask(self, name: str, stage: str) -> list[VideoSequence]:
        try:
            return self._parts[name]["source"].sequences(stage)
        except BadInput as error:
            raise BadInput(f"data.parts.{name}: {error}") from error
