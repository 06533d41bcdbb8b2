"""A model as a graph of operators: ready for `torch.export`, with frames of any size that its strides divide."""

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from davis_exp.models.keras.segmenter import KerasSegmenter
from davis_exp.models.segmenter import State, VideoSegmenter

Model = VideoSegmenter | KerasSegmenter

SIDES = 9, 15  # of the frames that it is traced with, in strides: as large as most that it will see
MOST = 256  # sides of a frame, in strides
LONGEST = 4096  # frames of a clip


class Graph(nn.Module):
    """A segmenter that answers with tensors alone: logits (1, T, 1, H, W), features if asked, the state after the clip."""

    def __init__(self, model: nn.Module, features: bool = False) -> None:
        super().__init__()
        self.model, self.features = model, features

    def forward(
        self, frames: Tensor, motion: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, ...]:
        prediction, after = self.model(frames, motion, state)
        features = [prediction.features.values] if self.features else []
        return (prediction.logits, *features, *after)


def strides(model: Model) -> tuple[int, int]:
    """(frames, pixels) that a clip's length and its frames' sides must be multiples of."""
    levels = model.levels
    return math.lcm(*levels.temporal_strides), math.lcm(*levels.strides)


def first_inputs(model: Model, sides: tuple[int, int], length: int) -> tuple[Tensor, Tensor | None, State]:
    """A clip (frames, motion, state before it) of `length` frames whose sides are so many strides; noise."""
    _, stride = strides(model)
    frames = torch.rand(1, length, 3, *(side * stride for side in sides))
    motion = torch.rand_like(frames) if model.needs_motion else None
    if not isinstance(model, VideoSegmenter) or model.context is not None:
        return frames, motion, ()
    with torch.inference_mode():
        state = model.temporal.initial_state(model.encode(frames, motion))
    return frames, motion, tuple(tensor.clone() for tensor in state)


def state_shapes(model: Model) -> list[list[int | str]]:
    """The shape of each tensor of the state, all zero before the first frame; sides as "height/8".

    Raises ValueError for a state whose shape does not follow from the frame's sides.
    """
    stride = strides(model)[1]
    (_, _, one), (_, _, other) = (first_inputs(model, sides, 1) for sides in ((3, 5), (4, 7)))
    shapes = []
    for small, large in zip(one, other, strict=True):
        if small.any() or small.dtype != torch.float32:
            raise ValueError(
                "its state before the first frame is not all zeros: only such a step can be exported"
            )
        shape: list[int | str] = []
        for a, b in zip(small.shape, large.shape, strict=True):
            rules = (
                {f"height/{3 * stride // a}": (3, 4), f"width/{5 * stride // a}": (5, 7)} if a != b else {}
            )
            fitting = [rule for rule, (x, y) in rules.items() if a * y == b * x and (x * stride) % a == 0]
            if a != b and not fitting:
                raise ValueError("the shape of its state does not follow from a frame's height and width")
            shape.append(fitting[0] if fitting else a)
        shapes.append(shape)
    return shapes


def traced(model: Model, length: int, features: bool = False) -> torch.export.ExportedProgram:
    """The model as a program, for frames of any size: one at a time, or where it sees windows, clips of any length.

    Args:
        model: in evaluation mode; left as it is.
        length: frames of the clip that it is traced with.
        features: whether it shall give its features too.

    Raises:
        ValueError: it cannot be had so; says why.
    """
    step, stride = strides(model)
    ready = _with_fixed_padding(copy.deepcopy(model)).eval()
    single = model.context in (None, (0, 0))
    length = 1 if single else max(2, -(-length // step)) * step
    frames, motion, state = first_inputs(model, SIDES, length)
    dim = torch.export.Dim
    clip = {
        3: dim("height", min=2, max=MOST) * stride,
        4: dim("width", min=2, max=MOST) * stride,
    }
    if not single:
        clip[1] = dim("time", max=LONGEST // step) * step
    shapes = {
        "frames": clip,
        "motion": None if motion is None else clip,
        "state": tuple({2: dim.AUTO, 3: dim.AUTO} for _ in state) or None,
    }
    with _quietly():
        try:
            return torch.export.export(
                Graph(ready, features), (frames, motion, state or None), dynamic_shapes=shapes
            )
        except Exception as error:  # of many kinds, with pages of text
            reason = str(error).strip().splitlines()
            raise ValueError(
                f"PyTorch cannot export it: {reason[0] if reason else type(error).__name__}"
            ) from error


def _with_fixed_padding(model: nn.Module) -> nn.Module:
    """The model with each convolution that pads by the size it sees (TensorFlow's SAME) padding always alike.

    All sizes that it sees are multiples of its stride, as long as frames are of the model's.
    """
    from timm.layers import Conv2dSame

    for module in list(model.modules()):
        for name, conv in list(module.named_children()):
            if isinstance(conv, Conv2dSame):
                setattr(module, name, _padded(conv))
    return model


def _padded(conv: nn.Conv2d) -> nn.Module:
    sides = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
    tall, wide = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, stride, dilation in sides)
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    plain.weight, plain.bias = conv.weight, conv.bias
    return nn.Sequential(nn.ZeroPad2d((wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)), plain)


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own code, at each version others
        yield
