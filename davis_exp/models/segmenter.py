"""VideoSegmenter: an encoder, a temporal part and a decoder joined into one model, and what each must be."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch import Tensor, nn

from davis_exp.models.levels import Levels
from davis_exp.models.padding import Size, pad, resize_and_crop, round_up
from davis_exp.utils.arguments import refused_by
from davis_exp.utils.errors import brief

Context = tuple[int, int] | None
"""(past, future) frames that a part looks at; None: it carries state from frame to frame."""
State = tuple[Tensor, ...]

DESCRIBED = 16  # pixels: the stride of a prediction's features, or near it


@dataclass(frozen=True)
class Features:
    """What an encoder makes of frames: `values` (B, T, C, rows, columns), each for `stride` pixels either way."""

    values: Tensor
    stride: int


@dataclass(frozen=True)
class Prediction:
    """What a segmenter answers: `logits` (B, T, 1, H, W), those of any auxiliary heads by name, and its `features`."""

    logits: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)
    features: Features | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Prediction":
        """The same prediction with `change` applied to every logit map."""
        aux = {name: change(logits) for name, logits in self.aux.items()}
        return replace(self, logits=change(self.logits), aux=aux)


class Encoder(Protocol):
    """Frames → features. It normalises its own input, and its constructor never loads weights."""

    levels: Levels
    context: Context
    needs_motion: bool
    mean: Any
    std: Any

    def load_weights(self) -> None:
        """Fill in the pretrained weights that it was told of, if any. Raises ValueError if they cannot be had."""

    def __call__(self, frames: Tensor, motion: Tensor | None) -> list[Tensor]:
        """Frames and motion (B, T, 3, H, W) in [0, 1] → one (B, T/t, C, H/s, W/s) per level."""


class Temporal(Protocol):
    """Features → features, with memory. Built with the keyword `inputs`: the encoder's Levels."""

    levels: Levels
    context: Context

    def initial_state(self, features: list[Tensor]) -> State:
        """The state before the first frame: a flat tuple whose shapes never change."""

    def __call__(self, features: list[Tensor], state: State) -> tuple[list[Tensor], State]:
        """One (B, T/t, C, H/s, W/s) per level, and the state before them → the same, and the state after them."""


class Decoder(Protocol):
    """Features → logits. Built with the keyword `inputs`: the Levels of the temporal part."""

    context: Context

    def __call__(self, features: list[Tensor], size: Size) -> Prediction:
        """`size` is that of the encoder's (padded) input; logits are (B, T, 1, h, w) at any h, w."""


class Segmenter(Protocol):
    """Any whole model: a VideoSegmenter, or one that comes from elsewhere."""

    @property
    def context(self) -> Context: ...

    @property
    def needs_motion(self) -> bool: ...

    def __call__(
        self, frames: Tensor, motion: Tensor | None = None, state: State | None = None
    ) -> tuple[Prediction, State]: ...


class VideoSegmenter(nn.Module):
    """`encode`, then `decode`.

    Args:
        encoder: a built encoder.
        temporal, decoder: factories, called with `inputs`: the Levels of what comes before them.
        flow: a learned network, frames → motion pictures (both (B, T, 3, H, W)), with a `.context`; it
            counts as part of the model. None where motion comes from the data, or is not needed.

    Raises:
        ValueError: the parts cannot work together, or one cannot be built; says which to change.
    """

    def __init__(
        self,
        encoder: Encoder,
        temporal: Callable[..., Temporal],
        decoder: Callable[..., Decoder],
        flow: Any = None,
    ) -> None:
        super().__init__()
        with refused_by("encoder", type(encoder)):
            self._levels = Levels.of(encoder)
        self.encoder = encoder
        self.temporal = _build("temporal", temporal, self._levels)
        with refused_by("temporal", type(self.temporal)):
            levels = Levels.of(self.temporal)
        self.decoder = _build("decoder", decoder, levels)
        if not _declared("encoder", encoder, "needs_motion") and flow is not None:
            raise ValueError(
                "flow: the encoder uses no motion; set flow=none, or choose an encoder of two streams"
            )
        self.flow = flow
        parts = {"encoder": encoder, "temporal": self.temporal, "decoder": self.decoder, "flow": flow}
        self._context = join_contexts(
            {name: _declared(name, part, "context") for name, part in parts.items() if part is not None}
        )

    @property
    def context(self) -> Context:
        """The parts' contexts joined: None streams, (0, 0) is frame by frame, else windows of frames."""
        return self._context

    @property
    def levels(self) -> Levels:
        """The levels of its encoder."""
        return self._levels

    @property
    def features_stride(self) -> int:
        """Of the level of its encoder that a prediction's `features` are: that nearest to `DESCRIBED`."""
        return min(self._levels.strides, key=lambda stride: (abs(stride - DESCRIBED), stride))

    @property
    def needs_motion(self) -> bool:
        """Whether `forward` must be given motion."""
        return self.encoder.needs_motion and self.flow is None

    def load_weights(self) -> None:
        """Fill in every part's pretrained weights, if any. Raises ValueError if they cannot be had."""
        for name, part in self.named_children():
            if hasattr(part, "load_weights"):
                with refused_by(name, type(part)):
                    part.load_weights()  # type: ignore[operator]

    def forward(
        self, frames: Tensor, motion: Tensor | None = None, state: State | None = None
    ) -> tuple[Prediction, State]:
        """Segment a clip, or its next frames.

        Args:
            frames: (B, T, 3, H, W) float in [0, 1], of any H and W.
            motion: as `frames`; only where `needs_motion`.
            state: what the previous call returned; None at the start of a clip.

        Returns:
            (logits (B, T, 1, H, W), the state after the last frame: () unless `context` is None)

        Raises:
            TypeError: frames that are no floats.
            ValueError: no motion, where it is needed.
        """
        t, _, h, w = frames.shape[1:]
        return self.decode(self.encode(frames, motion), (t, h, w), state)

    def encode(self, frames: Tensor, motion: Tensor | None = None) -> list[Tensor]:
        """Frames (B, T, 3, H, W) float in [0, 1] → one (B, T/t, C, H/s, W/s) per level of the padded frames.

        Raises as `forward`.
        """
        if not frames.is_floating_point():
            raise TypeError(f"frames must be floats in [0, 1], got {frames.dtype}")
        if self.encoder.needs_motion and motion is None:
            if self.flow is None:
                raise ValueError(
                    "motion is needed by this encoder: give it, or a model with a `flow` network"
                )
            motion = self.flow(frames)
        if motion is not None:
            motion = self._pad(motion)
        return self.encoder(self._pad(frames), motion)

    def decode(
        self, features: list[Tensor], size: Size, state: State | None = None
    ) -> tuple[Prediction, State]:
        """Features of frames of `size` (T, H, W) → (logits (B, T, 1, H, W), the state after them)."""
        if state is None:
            state = self.temporal.initial_state(features)
        own = self._described(features, size)
        features, state = self.temporal(features, state)
        padded = self.padded(size)
        prediction = self.decoder(features, padded).map(lambda logits: resize_and_crop(logits, size, padded))
        return replace(prediction, features=own), state

    def _described(self, features: list[Tensor], size: Size) -> Features:
        """The encoder's level of `features_stride`, one for each frame, without cells that see nothing of the frames."""
        (t, h, w), stride = size, self.features_stride
        k = self._levels.strides.index(stride)
        step = self._levels.temporal_strides[k]
        values = features[k] if step == 1 else features[k].repeat_interleave(step, 1)
        return Features(values[:, :t, :, : -(-h // stride), : -(-w // stride)], stride)

    def padded(self, size: Size) -> Size:
        """`size` (T, H, W) rounded up to what every level's stride divides."""
        return round_up(size, math.lcm(*self._levels.temporal_strides), math.lcm(*self._levels.strides))

    def _pad(self, clip: Tensor) -> Tensor:
        t, _, h, w = clip.shape[1:]
        return pad(clip, self.padded((t, h, w)))


def join_contexts(contexts: Mapping[str, Context]) -> Context:
    """The context of parts (by name) run one after the other. Raises ValueError for state beside a window."""
    stateful = " and ".join(name for name, context in contexts.items() if context is None)
    windows = {name: context for name, context in contexts.items() if context and any(context)}
    if stateful and windows:
        names = " and ".join(windows)
        raise ValueError(
            f"state and windows exclude each other: {stateful} carries state from frame to frame, but {names} looks at "
            f"(past, future) neighbours {', '.join(map(str, windows.values()))}: change {stateful} to one without "
            f"state (of temporal parts, none), or {names} to one that sees a frame at a time"
        )
    if stateful:
        return None
    return sum(past for past, _ in windows.values()), sum(future for _, future in windows.values())


def _build(name: str, factory: Callable[..., Any], inputs: Levels) -> Any:
    """The part `name`, built for the levels that it is given. Raises ValueError saying which it is."""
    if isinstance(factory, nn.Module):
        raise ValueError(
            f"{name}: already built; a factory (_partial_: true) is needed, to be told the levels"
        )
    target, args, options = factory, (), {}
    if isinstance(factory, functools.partial):
        target, args, options = factory.func, factory.args, factory.keywords
    try:
        inspect.signature(target).bind(*args, **options, inputs=inputs)
    except TypeError as error:
        called, given = getattr(target, "__name__", repr(target)), ", ".join((*options, "inputs"))
        raise ValueError(f"{name}: {called} cannot be called with {given}: {error}") from error
    with refused_by(name, target):
        try:
            return factory(inputs=inputs)
        except ValueError:
            raise
        except Exception as error:  # a library's own kind
            raise ValueError(f"cannot be built for {inputs}: {brief(error)}") from error


def _declared(name: str, part: object, attribute: str) -> Any:
    if not hasattr(part, attribute):
        raise ValueError(
            f"{name}: {type(part).__name__} declares no `{attribute}`, which every {name} must have"
        )
    return getattr(part, attribute)
