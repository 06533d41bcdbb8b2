"""What an exported file says of itself, beside its model's config: how its graph is to be called."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from davis_exp.models.segmenter import Context
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted

SIDE = re.compile(r"(height|width)/([1-9][0-9]{0,3})")
PRECISIONS = ("fp32", "fp16", "int8")
LARGEST = 2**16  # of a number in it


@dataclass(frozen=True)
class Form:
    """How a graph is called: frames, motion where it needs any, the state before → logits, features, the state after.

    Frames and motion are (1, T, 3, H, W) float32 in [0, 1], logits (1, T, 1, H, W): before the sigmoid. Features
    (1, T, C, H/features, W/features) are given where `inference.consensus` asks for them.

    Attributes:
        context: as a segmenter's; None: it takes one frame at a time, with state.
        needs_motion: whether it takes motion pictures.
        step, stride: frames of a clip and sides of a frame are multiples of these.
        state: the shape of each tensor of the state, all zero before the first frame; sides as "height/8".
        precision: of its weights (fp16), or of what it computes with too (int8).
        features: pixels, the stride of its features; 0: it gives none.
    """

    context: Context
    needs_motion: bool
    step: int
    stride: int
    state: tuple[tuple[int | str, ...], ...] = ()
    precision: str = "fp32"
    features: int = 0

    @classmethod
    def of(cls, stored: Any, name: str) -> "Form":
        """A form from plain data in the file `name`. Raises BadInput."""

        def whole(value: Any, low: int = 1) -> bool:
            return type(value) is int and low <= value <= LARGEST

        def pair(value: Any) -> bool:
            return isinstance(value, list) and len(value) == 2 and all(whole(side, 0) for side in value)

        def shape(value: Any) -> bool:
            return isinstance(value, list) and len(value) <= 6 and all(map(side, value))

        def side(value: Any) -> bool:
            return whole(value) or (isinstance(value, str) and SIDE.fullmatch(value) is not None)

        checks = {
            "context": lambda value: value is None or pair(value),
            "needs_motion": lambda value: isinstance(value, bool),
            "step": whole,
            "stride": whole,
            "state": lambda value: isinstance(value, list) and len(value) <= 64 and all(map(shape, value)),
            "precision": lambda value: value in PRECISIONS,
            "features": lambda value: whole(value, 0),
        }
        stored = {"features": 0, **stored} if isinstance(stored, dict) else {}  # features came later
        if stored.keys() != checks.keys():
            raise BadInput(
                f"{name}: does not say how its graph is called; only what davis-exp wrote can be used"
            )
        for key, right in checks.items():
            if not right(stored[key]):
                raise BadInput(f"{name}: {key} of its graph cannot be {quoted(stored[key])}")
        if stored["features"] and stored["stride"] % stored["features"]:
            raise BadInput(
                f"{name}: features of its graph cannot be {stored['features']}: no part of its stride"
            )
        context = stored["context"]
        return cls(
            **stored
            | {
                "context": None if context is None else tuple(context),
                "state": tuple(tuple(one) for one in stored["state"]),
            }
        )

    def plain(self) -> dict[str, Any]:
        """As `of` takes it."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def single(self) -> bool:
        """Whether it takes one frame at a time (T = 1)."""
        return self.context in (None, (0, 0))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the graph's inputs, in order."""
        return ("frames", *(["motion"] if self.needs_motion else []), *self._states("state"))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the graph's outputs, in order."""
        return ("logits", *(["features"] if self.features else []), *self._states("next_state"))

    def _states(self, name: str) -> list[str]:
        return [f"{name}_{i}" for i in range(len(self.state))]

    def state_shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """The shapes of the state for frames of that size."""
        sides = {"height": height, "width": width}

        def length(side: int | str) -> int:
            if isinstance(side, int):
                return side
            name, _, part = side.partition("/")
            return sides[name] // int(part)

        return [tuple(map(length, shape)) for shape in self.state]


def about(text: str | bytes | None, name: str) -> tuple[dict[str, Any], Form]:
    """What a file says of itself as JSON: all of it, and how its graph is called. Raises BadInput."""
    if not text:
        raise BadInput(f"{name}: has no config in it; only files that `davis-exp export` wrote can be used")
    told = given.parse_json(text, name)
    if not isinstance(told, dict):
        raise BadInput(f"{name}: has no config in it; only what `davis-exp export` wrote can be used")
    return told, Form.of(told.get("graph"), name)
