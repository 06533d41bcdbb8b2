"""A checkpoint used on sequences that nobody has annotated: masks, overlay, cut-out, frame by frame."""

import contextlib
import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.config.parts import FURTHEST
from davis_exp.data import png
from davis_exp.data.sequences import Picked, VideoSequence
from davis_exp.models import zoo
from davis_exp.results.overlay import cut_out, overlay
from davis_exp.results.video import VideoWriter
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.progress import progress_bar

FRAMES_WAITING = 8  # frames that wait to be drawn and encoded
LEAST = 2 * FURTHEST + 1  # frames kept where masks come long after they have been read
GRAIN = 32  # sides of what the model sees are multiples of this: the coarsest stride of most encoders


@dataclass(frozen=True)
class Output:
    """What to write: masks, overlay and cut-out below `path`, or the overlay `alone` as `path` itself.

    Masks are called as their frames are, or, where `numbered`, 00000, 00001 and so on.
    """

    path: Path
    alone: bool = False
    threshold: float = 0.5
    soft: bool = False
    cutout: bool = False
    numbered: bool = False


class Predictor:
    """The model of a checkpoint, ready to run.

    Args:
        checkpoint: a run's checkpoint, or the name of a model that ships.
        size: (height, width) that the model sees; None keeps the number of pixels of its training, and each
            sequence's own shape.
        device: "auto" takes a GPU where there is one.
        allow: classes of the user's own that the checkpoint may name.

    Raises:
        BadInput: a checkpoint or a device that cannot be used.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        size: tuple[int, int] | None = None,
        device: str = "auto",
        allow: Collection[str] = (),
    ) -> None:
        import torch
        from omegaconf import OmegaConf

        from davis_exp.experiment import build, checkpoints
        from davis_exp.models.memory_format import channels_last

        self.name = str(checkpoint)
        read = checkpoints.read(checkpoint, allow)
        cfg = OmegaConf.create(read["config"])
        if cfg.get("flow") and "cache" in cfg.flow:  # a stranger's video is not worth keeping the flow of
            cfg.flow.cache = False
        self.size, self.how, self.motion = size, build.inference(cfg), build.build_motion(cfg)
        graph = "exported" in read  # run by another engine
        if graph and device not in ("auto", "cpu"):
            raise BadInput(
                f"--device {device}: {self.name} runs on the CPU; give the checkpoint it came from"
            )
        gpu = torch.cuda.is_available() and not graph
        name = ("cuda" if gpu else "cpu") if device == "auto" else device
        try:
            self.device = torch.device(name)
            self.model = checkpoints.restore(read).to(self.device).eval()
            if (cfg.get("task") or {}).get("channels_last"):  # as it was trained: faster, and rounded alike
                channels_last(self.model)
        except (RuntimeError, AssertionError) as error:
            raise BadInput(f"--device {device}: {' '.join(str(error).split())[:120]}") from error

    def __call__(
        self, given: str | Path | VideoSequence | Iterable[np.ndarray], every: int = 1
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (frame (H, W, 3) uint8 RGB, confidence (H, W) uint8) of one sequence, as they come; object from 128 on.

        Args:
            given: a video, a picture or a folder of pictures; a `VideoSequence`; or frames (H, W, 3) uint8 RGB in memory.
            every: of a file or folder, one frame in so many.

        Raises BadInput for what is none of these, and for several sequences.
        """
        if isinstance(given, str | Path):
            from davis_exp.data.sources.video import open_input

            sequences = open_input(Path(given), every)
            if len(sequences) != 1:
                raise BadInput(f"{given} holds {len(sequences)} sequences: give one of them")
            return self._run(sequences[0])
        if isinstance(given, VideoSequence):
            return self._run(given)
        from davis_exp.data.sources.arrays import ArraySequence

        return self._run(ArraySequence(given))

    def _run(
        self, sequence: VideoSequence, shape: tuple[int, int] | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        from davis_exp.inference import predict

        shape = shape or _shown(sequence)[0]  # what is round shall look round to the model
        how = replace(self.how, size=self.size or same_pixels(self.how.size, shape))
        cache = _FrameCache(sequence, LEAST if how.track or how.consensus else None)
        for i, confidence in predict(self.model, cache, how, self.device, self.motion):
            yield cache.take(i), confidence

    def __repr__(self) -> str:
        own = sum(parameter.numel() for parameter in self.model.parameters())
        count = getattr(self.model, "weights", own)  # of a graph for another engine, the numbers in it
        seen = "any size" if self.how.size is None else "about {} x {}".format(*self.size or self.how.size)
        return f"Predictor({self.name}: {count:,} parameters, sees {seen}, on {self.device})"

    def _repr_html_(self) -> str:
        return f"<p><code>{escape(repr(self))}</code></p>"

    def write(self, sequence: VideoSequence, output: Output, trusted: dict[str, float] | None = None) -> int:
        """Predict `sequence` and write what `output` asks for; returns the number of frames.

        Into `trusted` goes how far each mask is to be trusted (0 … 1), by its name, also of a sequence that breaks off.

        Raises BadInput for frames that cannot be read, or two of one name.
        """
        names = [f"{i:05d}" for i in range(len(sequence))]
        if not output.numbered:
            names = [frame.rpartition("/")[2] for frame in sequence.frame_ids]
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise BadInput(
                f"{sequence.name}: two frames are called {quoted(twice[0])}, and so would their masks be; rename one, or "
                "number the masks by --video-masks"
            )
        from davis_exp.inference.confidence import ConfidenceMeter

        shape, aspect = _shown(sequence)
        meter = ConfidenceMeter()
        times = getattr(sequence, "times", None) or [Fraction(i, 24) for i in range(len(sequence))]
        folder = output.path.parent if output.alone else output.path
        folder.mkdir(parents=True, exist_ok=True)
        video = output.path if output.alone else folder / "overlay.mp4"
        with contextlib.ExitStack() as stack:
            if trusted is not None:
                stack.callback(lambda: trusted.update(zip(names, meter.values(), strict=False)))
            progress = stack.enter_context(progress_bar(sequence.name))
            overlays = stack.enter_context(VideoWriter(video, aspect))
            cutouts = (
                stack.enter_context(VideoWriter(folder / "cutout.webm", aspect)) if output.cutout else None
            )
            behind = stack.enter_context(_BackgroundWriter())

            def draw(i: int, frame: np.ndarray, confidence: np.ndarray) -> None:
                meter.add(frame, confidence)
                mask = confidence >= math.ceil(255 * output.threshold)
                written = confidence if output.soft else mask.astype(np.uint8) * 255
                overlays.add(overlay(frame, mask), times[i])
                if not output.alone:
                    _write(folder / "masks", names[i], written)
                if cutouts is not None:
                    cut = cut_out(frame, written)
                    cutouts.add(cut, times[i])
                    _write_colour(folder / "cutout", names[i], cut)
                if progress:
                    progress(i + 1, len(sequence))

            for i, (frame, confidence) in enumerate(self._run(sequence, shape)):
                behind.do(draw, i, frame, confidence)
        return len(sequence)


def load(checkpoint: str | Path = zoo.DEFAULT, **how: Any) -> Predictor:
    """The predictor of a run's checkpoint or a model that ships; `how` as `Predictor` takes it (size, device, allow)."""
    return Predictor(checkpoint, **how)


def _shown(sequence: VideoSequence) -> tuple[tuple[int, int], Fraction]:
    """(height, width) of a frame as it is to be shown, and its pixels' width over their height."""
    height, width = sequence.size
    aspect = getattr(sequence, "pixel_aspect", Fraction(1))
    return (height, round(width * aspect)), aspect


class _FrameCache(Picked):
    """All frames of a sequence, kept, once read for the model, until they are taken to be drawn on.

    No more than the last `most` are kept, where it says so; others are read again, of a film by a reader that follows
    behind.
    """

    def __init__(self, sequence: VideoSequence, most: int | None) -> None:
        super().__init__(sequence, range(len(sequence)))
        again = None if most is None else getattr(sequence, "again", None)
        self._behind = sequence if again is None else again()
        self._most = most
        self._kept: dict[int, np.ndarray] = {}
        self._next = 0

    def frame(self, i: int) -> np.ndarray:
        frame = self._kept.get(i)
        if frame is None:
            frame = super().frame(i)
            if i >= self._next:  # motion looks back at frames that have been drawn
                self._kept[i] = frame
                if self._most is not None and len(self._kept) > self._most:
                    del self._kept[min(self._kept)]
        return frame

    def take(self, i: int) -> np.ndarray:
        """Frame `i`, which the model has read; frames are taken once and in order."""
        self._next = i + 1
        frame = self._kept.pop(i, None)
        return self._behind.frame(i) if frame is None else frame


class _BackgroundWriter:
    """A thread that does one job after the other, a few behind whoever hands them in; what it raises comes out."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="drawing")
        self._jobs: deque[Future[None]] = deque()

    def __enter__(self) -> "_BackgroundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._jobs and kind is None:
                self._jobs.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def do(self, job: Callable[..., None], *arguments: object) -> None:
        if len(self._jobs) >= FRAMES_WAITING:
            self._jobs.popleft().result()
        self._jobs.append(self._pool.submit(job, *arguments))


def same_pixels(trained: tuple[int, int] | None, own: tuple[int, int]) -> tuple[int, int] | None:
    """A size of about as many pixels as `trained`, in the shape of `own`, never larger than it."""
    if trained is None:
        return None
    scale = min(1.0, math.sqrt(trained[0] * trained[1] / (own[0] * own[1])))
    height, width = (max(GRAIN, round(side * scale / GRAIN) * GRAIN) for side in own)
    return height, width


def clear(folder: Path) -> None:
    """Leave nothing of what an earlier prediction with other options left in `folder`."""
    for name in ("overlay.mp4", "cutout.webm"):
        (folder / name).unlink(missing_ok=True)
    for name in ("masks", "cutout"):
        for picture in (folder / name).glob("*.png"):
            picture.unlink()
        with contextlib.suppress(OSError):  # somebody has put something there
            (folder / name).rmdir()


def _write(folder: Path, name: str, mask: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.png").write_bytes(png.encode(mask))


def _write_colour(folder: Path, name: str, picture: np.ndarray) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    Image.fromarray(picture).save(folder / f"{name}.png", compress_level=1)
