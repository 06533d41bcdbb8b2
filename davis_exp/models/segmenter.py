"""VideoSegmenter: an encoder, a temporal part and a decoder joined into one model, and what each must be."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from davis_exp.errors import BadInput

Context = tuple[int, int] | None
"""(past, future) frames that a part looks at; None: it carries state from frame to frame."""
State = tuple[Tensor, ...]
Size = tuple[int, int, int]
"""(T, H, W)."""


@dataclass(frozen=True)
class Prediction:
    """What a segmenter answers: `logits` (B, T, 1, H, W), and those of any auxiliary heads by name."""

    logits: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Prediction":
        """The same prediction with `change` applied to every logit map."""
        return Prediction(change(self.logits), {name: change(logits) for name, logits in self.aux.items()})


class Levels(Protocol):
    """What a part says about the features it gives: one entry per level, fine → coarse."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    temporal_strides: tuple[int, ...]
    context: Context


class Encoder(Levels, Protocol):
    """Frames → features. It normalises its own input, and its constructor never loads weights."""

    needs_motion: bool
    mean: Any
    std: Any

    def load_weights(self) -> None:
        """Fill in the pretrained weights that the config names, if any."""

    def __call__(self, frames: Tensor, motion: Tensor | None) -> list[Tensor]:
        """Frames and motion (B, T, 3, H, W) in [0, 1] → one (B, T/t, C, H/s, W/s) per level."""


class Temporal(Levels, Protocol):
    """Features → features, with memory. Built with `channels`, `strides`, `temporal_strides` keywords."""

    def initial_state(self, features: list[Tensor]) -> State:
        """The state before the first frame: a flat tuple whose shapes never change."""

    def __call__(self, features: list[Tensor], state: State) -> tuple[list[Tensor], State]: ...


class Decoder(Protocol):
    """Features → logits. Built with `channels`, `strides`, `temporal_strides` keywords."""

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
        temporal, decoder: factories, called with `channels`, `strides` and `temporal_strides` of what
            comes before them.
        flow: a learned network, frames → motion pictures (both (B, T, 3, H, W)), with a `.context`; it
            counts as part of the model. None where motion comes from the data, or is not needed.

    Raises:
        BadInput: the parts cannot work together; says which to change.
    """

    def __init__(
        self,
        encoder: Encoder,
        temporal: Callable[..., Temporal],
        decoder: Callable[..., Decoder],
        flow: Any = None,
    ) -> None:
        super().__init__()
        _check_levels("encoder", encoder)
        self.encoder = encoder
        self.temporal = _complete("temporal", temporal, encoder)
        _check_levels("temporal", self.temporal)
        self.decoder = _complete("decoder", decoder, self.temporal)
        if flow is not None and not encoder.needs_motion:
            raise BadInput("flow: this encoder uses no motion; set flow=none or choose a two-stream encoder")
        self.flow = flow
        parts = {"encoder": encoder, "temporal": self.temporal, "decoder": self.decoder, "flow": flow}
        self._context = join_contexts(
            {role: _attribute(role, part, "context") for role, part in parts.items() if part is not None}
        )

    @property
    def context(self) -> Context:
        """The parts' contexts joined: None streams, (0, 0) is frame by frame, else windows of frames."""
        return self._context

    @property
    def needs_motion(self) -> bool:
        """Whether `forward` must be given motion."""
        return self.encoder.needs_motion and self.flow is None

    def load_weights(self) -> None:
        """Fill in every part's pretrained weights, if any. Raises BadInput if they cannot be had."""
        for part in self.children():
            load: Any = getattr(part, "load_weights", None)
            if load is not None:
                load()

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
        """
        t, _, h, w = frames.shape[1:]
        return self.decode(self.encode(frames, motion), (t, h, w), state)

    def encode(self, frames: Tensor, motion: Tensor | None = None) -> list[Tensor]:
        """Frames (B, T, 3, H, W) float in [0, 1] → features, of the frames padded to the coarsest stride."""
        if not frames.is_floating_point():
            raise TypeError(f"frames must be floats in [0, 1], got {frames.dtype}")
        if self.encoder.needs_motion and motion is None:
            if self.flow is None:
                raise BadInput("flow: this encoder needs motion; choose where it comes from, as flow=dis")
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
        features, state = self.temporal(features, state)
        padded = self.padded(size)
        prediction = self.decoder(features, padded)
        return prediction.map(lambda logits: _fit(logits, size, padded)), state

    def padded(self, size: Size) -> Size:
        """`size` (T, H, W) rounded up to what every level's stride divides."""
        t, h, w = size
        step, stride = math.lcm(*self.encoder.temporal_strides), math.lcm(*self.encoder.strides)
        return -(-t // step) * step, -(-h // stride) * stride, -(-w // stride) * stride

    def _pad(self, clip: Tensor) -> Tensor:
        t, _, h, w = clip.shape[1:]
        pt, ph, pw = self.padded((t, h, w))
        if (pt, ph, pw) == (t, h, w):
            return clip
        clip = clip.transpose(1, 2)  # (B, C, T, H, W): `pad` replicates the last three axes
        return F.pad(clip, (0, pw - w, 0, ph - h, 0, pt - t), mode="replicate").transpose(1, 2)


def join_contexts(contexts: Mapping[str, Context]) -> Context:
    """The context of parts run one after the other. Raises BadInput for state beside a window."""
    stateful = " and ".join(name for name, context in contexts.items() if context is None)
    windows = {name: context for name, context in contexts.items() if context and any(context)}
    if stateful and windows:
        names = " and ".join(windows)
        raise BadInput(
            f"{stateful} carries state from frame to frame, but {names} looks at (past, future) neighbours "
            f"{', '.join(map(str, windows.values()))}: change {stateful} to one without state, as "
            f"temporal=none, or {names} to one that sees a frame at a time"
        )
    if stateful:
        return None
    return sum(past for past, _ in windows.values()), sum(future for _, future in windows.values())


def _fit(logits: Tensor, size: Size, padded: Size) -> Tensor:
    """Resize logits (B, T, 1, h, w) to the padded input, then crop to `size`."""
    if logits.shape[-2:] != padded[1:]:
        frames = F.interpolate(logits.flatten(0, 1), padded[1:], mode="bilinear")  # (B·T, 1, H, W)
        logits = frames.unflatten(0, logits.shape[:2])
    t, h, w = size
    return logits[:, :t, :, :h, :w]


def _complete(role: str, factory: Callable[..., Any], source: Levels) -> Any:
    """Build part `role` for the levels that `source` gives."""
    if isinstance(factory, nn.Module):
        raise BadInput(f"{role}: already built; its YAML needs `_partial_: true`, to be told the levels")
    levels = {name: getattr(source, name) for name in ("channels", "strides", "temporal_strides")}
    target, args, options = factory, (), {}
    if isinstance(factory, functools.partial):
        target, args, options = factory.func, factory.args, factory.keywords
    try:
        inspect.signature(target).bind(*args, **(options | levels))
    except TypeError as error:
        name, given = getattr(target, "__name__", repr(target)), ", ".join(options | levels)
        raise BadInput(f"{role}: {name} cannot be called with {given}: {error}") from error
    return factory(**levels)


def _attribute(role: str, part: object, name: str) -> Any:
    if not hasattr(part, name):
        raise BadInput(f"{role}: {type(part).__name__} declares no `{name}`, which every {role} must have")
    return getattr(part, name)


def _check_levels(role: str, part: object) -> None:
    names = ("channels", "strides", "temporal_strides")
    lengths = {name: len(_attribute(role, part, name)) for name in names}
    if len(set(lengths.values())) != 1 or not lengths["channels"]:
        raise BadInput(f"{role}: {type(part).__name__} declares levels of unequal number: {lengths}")
    if role == "encoder":
        _attribute(role, part, "needs_motion")
