"""A checkpoint used on sequences that nobody has annotated: masks, overlay, cut-out, frame by frame."""

import contextlib
import math
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from davis_exp.data.sequences import Sequence
from davis_exp.errors import BadInput
from davis_exp.progress import progress_bar
from davis_exp.results import png
from davis_exp.results.overlay import cut_out, overlay
from davis_exp.results.video import VideoWriter

GRAIN = 32  # sides of what the model sees are multiples of this: the coarsest stride of most encoders


@dataclass(frozen=True)
class Output:
    """What to write: masks, overlay and cut-out below `path`, or the overlay `alone` as `path` itself."""

    path: Path
    alone: bool = False
    threshold: float = 0.5
    soft: bool = False
    cutout: bool = False


class Predictor:
    """The model of a checkpoint, ready to run.

    Args:
        checkpoint: a run's checkpoint.
        size: (height, width) that the model sees; None keeps the number of pixels of its training, and each
            sequence's own shape.
        device: "auto" takes a GPU where there is one.

    Raises:
        BadInput: a checkpoint or a device that cannot be used.
    """

    def __init__(
        self, checkpoint: Path, *, size: tuple[int, int] | None = None, device: str = "auto"
    ) -> None:
        import torch
        from omegaconf import OmegaConf

        from davis_exp import build, checkpoints

        read = checkpoints.read(checkpoint)
        cfg = OmegaConf.create(read["config"])
        if cfg.get("flow") and "cache" in cfg.flow:  # a stranger's video is not worth keeping the flow of
            self._scratch = tempfile.TemporaryDirectory(prefix="davis_exp_flow_")
            cfg.flow.cache = self._scratch.name
        self.size, self.how, self.motion = size, build.inference(cfg), build.build_motion(cfg)
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            self.device = torch.device(name)
            self.model = checkpoints.restore(read).to(self.device).eval()
        except (RuntimeError, AssertionError) as error:
            raise BadInput(f"--device {device}: {' '.join(str(error).split())[:120]}") from error

    def write(self, sequence: Sequence, output: Output) -> int:
        """Predict `sequence` and write what `output` asks for; returns the number of frames."""
        from davis_exp.inference import predict

        how = replace(self.how, size=self.size or _same_pixels(self.how.size, sequence.size))
        frames = sequence.again() if hasattr(sequence, "again") else sequence  # the model reads ahead of us
        times = getattr(sequence, "times", None) or [Fraction(i, 24) for i in range(len(sequence))]
        folder = output.path.parent if output.alone else output.path
        folder.mkdir(parents=True, exist_ok=True)
        video = output.path if output.alone else folder / "overlay.mp4"
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(progress_bar(sequence.name))
            overlays = stack.enter_context(VideoWriter(video))
            cutouts = stack.enter_context(VideoWriter(folder / "cutout.webm")) if output.cutout else None
            for i, confidence in predict(self.model, sequence, how, self.device, self.motion):
                mask = confidence >= math.ceil(255 * output.threshold)
                frame = frames.frame(i)
                overlays.add(overlay(frame, mask), times[i])
                if not output.alone:
                    _write(folder / "masks", i, confidence if output.soft else mask.astype(np.uint8) * 255)
                if cutouts is not None:
                    cut = cut_out(frame, confidence if output.soft else mask.astype(np.uint8) * 255)
                    cutouts.add(cut, times[i])
                    _write_colour(folder / "cutout", i, cut)
                if progress:
                    progress(i + 1, len(sequence))
        return len(sequence)


def _same_pixels(trained: tuple[int, int] | None, own: tuple[int, int]) -> tuple[int, int] | None:
    """A size of about as many pixels as `trained`, in the shape of `own`, never larger than it."""
    if trained is None:
        return None
    scale = min(1.0, math.sqrt(trained[0] * trained[1] / (own[0] * own[1])))
    height, width = (max(GRAIN, round(side * scale / GRAIN) * GRAIN) for side in own)
    return height, width


def _write(folder: Path, i: int, mask: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{i:05d}.png").write_bytes(png.encode(mask))


def _write_colour(folder: Path, i: int, picture: np.ndarray) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    Image.fromarray(picture).save(folder / f"{i:05d}.png", compress_level=1)
