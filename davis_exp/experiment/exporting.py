"""A checkpoint → a file for another engine, held against the checkpoint on real frames."""

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from davis_exp import config
from davis_exp.data.flow import MotionSource
from davis_exp.data.sequences import Picked, VideoSequence
from davis_exp.experiment import build, checkpoints
from davis_exp.exported import PROGRAM, onnx_file, openvino_file, package, program_file
from davis_exp.exported.form import Form
from davis_exp.exported.int8 import quantised
from davis_exp.exported.segmenter import ExportedSegmenter
from davis_exp.inference import Inference, predict
from davis_exp.metrics.jaccard import jaccard
from davis_exp.models import exportable
from davis_exp.models.segmenter import Prediction, State
from davis_exp.utils.errors import BadInput, brief

SAMPLES = 64  # frames that ranges are taken from
ALIKE = 1e-3  # probabilities that differ by no more are the same


@dataclasses.dataclass(frozen=True)
class Difference:
    """How an exported file differs from its checkpoint on the same frames.

    Attributes:
        frames: how many they were.
        probability: the largest difference of a pixel's probability, as the model gives it.
        scores: the contest's score of the checkpoint's masks and of the file's; None: no frame was labelled.
    """

    frames: int
    probability: float
    scores: tuple[float, float] | None


class Exporter:
    """A checkpoint's model, traced once, and written as many files as are wanted.

    Args:
        checkpoint: as `checkpoints.read` gives it.
        told: what else the files shall tell of themselves.

    Raises:
        BadInput: a model that cannot be exported, in a sentence.
    """

    def __init__(self, checkpoint: dict[str, Any], told: dict[str, Any] | None = None) -> None:
        from omegaconf import OmegaConf

        package("onnx", "onnxscript", "onnxruntime")
        model = checkpoints.restore(checkpoint).eval()
        if isinstance(model, ExportedSegmenter):
            raise BadInput("this is an exported model; give the checkpoint it came from")
        if not isinstance(model, exportable.Model):
            raise BadInput("only a model that is composed of parts, or one of Keras', can be exported")
        self.model: exportable.Model = model
        cfg = OmegaConf.create(checkpoint["config"])
        self.how, self.motion = build.inference(cfg), build.build_motion(cfg)
        self.told = {
            "config": checkpoint["config"],
            "clips": checkpoint.get("clips", {}),
            "config_digest": config.digest(cfg),
            "parameters": {
                name: sum(p.numel() for p in part.parameters()) for name, part in self.model.named_children()
            },
            **(told or {}),
        }
        features = getattr(self.model, "features_stride", 0) if self.how.consensus else 0
        if self.how.consensus and not features:
            raise BadInput("inference.consensus: this model gives no features of its frames; leave it out")
        step, stride = exportable.strides(self.model)
        try:
            shapes = exportable.state_shapes(self.model) if self.model.context is None else []
            self.form = Form(
                self.model.context,
                self.model.needs_motion,
                step,
                stride,
                tuple(map(tuple, shapes)),
                features=features,
            )
            self.program = exportable.traced(self.model, self.how.window, features > 0)
            self._graph = onnx_file.graph(self.program, self.form)
        except ValueError as error:
            raise BadInput(f"this model cannot be exported: {brief(error)}") from error
        except torch.onnx.errors.OnnxExporterError as error:
            raise BadInput(
                f"this model cannot be exported: ONNX has no such operator ({brief(error)})"
            ) from error
        self._try()

    def _try(self) -> None:
        """Run the graph on noise of sizes that it was not traced with. Raises BadInput where it answers otherwise."""
        engine = onnx_file.engine(self._graph.SerializeToString(), self.form, "this model cannot be exported")
        graph = ExportedSegmenter(self.form, engine, 0, "this model cannot be exported")
        for sides, length in (((4, 9), 1), ((11, 8), 2)):
            frames, motion, _ = exportable.first_inputs(self.model, sides, length * self.form.step)
            with torch.inference_mode():
                wanted, found = (one(frames, motion)[0].logits.sigmoid() for one in (self.model, graph))
            if not (difference := float((wanted - found).abs().max())) <= ALIKE:
                raise BadInput(
                    f"this model cannot be exported: on frames of {tuple(frames.shape[-2:])} its graph differs by "
                    f"{difference:.2g} from it"
                )

    def write(self, path: Path, precision: str = "fp32", train: Sequence[VideoSequence] = ()) -> None:
        """Write the file; `train` are the sequences whose frames decide the ranges of 8 bits. Raises BadInput."""
        import onnx

        form = dataclasses.replace(self.form, precision=precision)
        if path.suffix == PROGRAM:
            program_file.write(path, self.program, self.told, form)
            return
        graph = onnx.ModelProto()
        graph.CopyFrom(self._graph)
        if precision == "int8":
            graph = quantised(graph, form, self.samples(train))
        if path.suffix == ".xml":
            openvino_file.write(path, graph, self.told, form)
            return
        if precision == "fp16":
            onnx_file.in_half(graph)
        onnx_file.write(path, graph, self.told, form)

    def samples(self, sequences: Sequence[VideoSequence]) -> Iterator[list[np.ndarray]]:
        """What the model is called with on a few frames of each sequence. Raises BadInput for unreadable ones."""
        length = {None: 4, (0, 0): 2}.get(self.form.context, self.how.window)
        chosen = sequences[:: max(1, len(sequences) * length // SAMPLES)]
        heard = _Heard(self.model)
        for sequence in chosen:
            start = max(0, (len(sequence) - length) // 2)
            few = Picked(sequence, range(start, min(start + length, len(sequence))))
            for _ in predict(heard, few, self.how, motion=self.motion):
                while heard.called:
                    yield from self._steps(heard.called.popleft())
            heard.answered.clear()

    def _steps(self, inputs: list[np.ndarray]) -> list[list[np.ndarray]]:
        """The inputs of one call of the model as those of its graph's."""
        if self.model.context != (0, 0):
            return [inputs]
        return [[clip[:, t : t + 1] for clip in inputs] for t in range(inputs[0].shape[1])]

    def compare(self, other: nn.Module, sequences: Sequence[VideoSequence], frames: int) -> Difference:
        """`other` against this model on as many frames, spread over the sequences. Raises BadInput."""
        each = max(2, math.ceil(frames / max(1, len(sequences))))
        return compare(self.model, other, [first(one, each) for one in sequences], self.how, self.motion)


def first(sequence: VideoSequence, count: int) -> VideoSequence:
    """The first frames of a sequence."""
    return sequence if len(sequence) <= count else Picked(sequence, range(count))


def score(
    model: nn.Module, sequences: Sequence[VideoSequence], how: Inference, motion: MotionSource | None
) -> float | None:
    """The contest's score of a model on all labelled frames of the sequences; None where there are none."""
    found = [
        jaccard(confidence > 127, truth)
        for sequence in sequences
        for i, confidence in predict(model, sequence, how, motion=motion)
        if i in sequence.annotated and ((truth := sequence.mask(i)).any() or confidence.max() > 127)
    ]
    return float(np.mean(found)) if found else None


def compare(
    model: nn.Module,
    other: nn.Module,
    sequences: Sequence[VideoSequence],
    how: Inference,
    motion: MotionSource | None,
) -> Difference:
    """Both models on all frames of the sequences, side by side. Raises BadInput for frames that cannot be read."""
    one, two = _Heard(model), _Heard(other)
    largest, count = 0.0, 0
    scores: list[tuple[float, float]] = []
    for sequence in sequences:
        labelled = set(sequence.annotated)
        pairs = zip(
            predict(one, sequence, how, motion=motion),
            predict(two, sequence, how, motion=motion),
            strict=True,
        )
        for (i, mine), (_, theirs) in pairs:
            count += 1
            while one.answered and two.answered:
                largest = max(largest, float((one.answered.popleft() - two.answered.popleft()).abs().max()))
            if i in labelled and ((truth := sequence.mask(i)).any() or mine.max() > 127):
                scores.append((jaccard(mine > 127, truth), jaccard(theirs > 127, truth)))
        one.called.clear()
        two.called.clear()
    means = np.mean(scores, axis=0) if scores else None
    return Difference(count, largest, None if means is None else (float(means[0]), float(means[1])))


class _Heard(nn.Module):
    """A model that keeps what it is called with, and the probabilities that it answers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.context, self.needs_motion = model.context, model.needs_motion
        self.called: deque[list[np.ndarray]] = deque()
        self.answered: deque[Tensor] = deque()

    def forward(
        self, frames: Tensor, motion: Tensor | None = None, state: State | None = None
    ) -> tuple[Prediction, State]:
        prediction, after = self.model(frames, motion, state)
        given = [frames, *([] if motion is None else [motion]), *(state or ())]
        if (
            state is not None or self.context is not None
        ):  # the first step of a stream says nothing of its state
            self.called.append([tensor.numpy() for tensor in given])
        self.answered.append(prediction.logits.sigmoid())
        return prediction, after
