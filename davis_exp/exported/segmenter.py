"""An exported file as a segmenter like any other: inference reads it unchanged."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from davis_exp.exported.form import Form
from davis_exp.models.padding import Size, pad, round_up
from davis_exp.models.segmenter import Context, Features, Prediction, State
from davis_exp.utils.errors import BadInput

Engine = Callable[[list[np.ndarray]], list[np.ndarray]]
"""A graph, ready to run: its inputs, in order → its outputs, in order. Raises BadInput where it cannot."""


class ExportedSegmenter(nn.Module):
    """A graph run by another engine than PyTorch, on the CPU; it has no parameters that PyTorch knows of."""

    own_threads = True  # none of PyTorch's work on it

    def __init__(self, form: Form, engine: Engine, weights: int, name: str) -> None:
        """`weights`: how many numbers the graph holds; `name`: of the file, for messages."""
        super().__init__()
        self.form, self.weights, self.name = form, weights, name
        self._engine = engine

    @property
    def context(self) -> Context:
        return self.form.context

    @property
    def needs_motion(self) -> bool:
        return self.form.needs_motion

    def forward(
        self, frames: Tensor, motion: Tensor | None = None, state: State | None = None
    ) -> tuple[Prediction, State]:
        """As VideoSegmenter's, for one clip at a time (B = 1). Raises BadInput where the engine fails."""
        t, _, h, w = frames.shape[1:]
        step = 1 if self.form.single else t
        size = round_up((step, h, w), self.form.step, self.form.stride)
        if state is None:
            state = tuple(torch.zeros(shape) for shape in self.form.state_shapes(*size[1:]))
        clips = [clip for clip in (frames, motion) if clip is not None]
        answers, features = [], []
        for start in range(0, t, step):
            parts = [pad(clip[:, start : start + step].cpu(), size) for clip in clips]
            logits, *after = self._run([*parts, *state], size)
            answers.append(logits[:, :step, :, :h, :w])
            if stride := self.form.features:
                features.append(after.pop(0)[:, :step, :, : -(-h // stride), : -(-w // stride)])
            state = tuple(map(torch.from_numpy, after))
        # By NumPy: PyTorch's threads would wait awake for more, and take the cores from the engine's.
        found, *seen = (
            torch.from_numpy(np.concatenate(parts, 1)).to(frames.device)
            for parts in (answers, features)
            if parts
        )
        return Prediction(found, features=Features(seen[0], self.form.features) if seen else None), state

    def _run(self, inputs: list[Tensor], size: Size) -> list[np.ndarray]:
        outputs = self._engine([np.ascontiguousarray(tensor.numpy()) for tensor in inputs])
        wanted = [(1, size[0], 1, *size[1:]), *self.form.state_shapes(*size[1:])]
        if stride := self.form.features:
            channels = [max(1, number) for number in outputs[1].shape[2:3]]
            wanted.insert(1, (1, size[0], *channels, size[1] // stride, size[2] // stride))
        if [output.shape for output in outputs] != wanted:
            raise BadInput(f"{self.name}: its graph answers in other shapes than a model's; export it again")
        return outputs
