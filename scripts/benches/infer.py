"""`davis-exp predict` on a video against the bare model: how much of its speed is left for everything else.

    scripts/bench infer [--models mobile zoo/zoo_mobile …] [--size 480 854] [--frames 120] [--threads N] [--json F]
                        [--graphs zoo/zoo_mobile mobile] [--data DAVIS]

Predicting reads an mp4 (what it takes to open it included), resizes frames, runs the model, and writes a PNG mask for each
frame and the overlay video. The bare model is called as inference calls it (one frame after the other with its state, or
windows) on clips of the size that it sees, in memory; optical flow, where it wants any, is computed for it from frames in
memory. Frames a second, medians of rounds in which both take turns.

Videos are generated ones. Models are experiments, without weights, or those that ship; what they answer is an ellipse:
the noise that they would answer takes many times as long to outline and to encode as the masks of any trained model.

Those named as --graphs are exported to ONNX too, in float32 and in 8 bits (ranges from --data's train frames, else from
generated ones), and run in the same turns: the model alone, without flow, and whole predict.
"""

import functools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import _report
import torch
from hydra import compose, initialize_config_dir

from davis_exp.config import conf_dir
from davis_exp.data.sequences import VideoSequence
from davis_exp.data.sources import open_source
from davis_exp.data.sources.arrays import ArraySequence
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.data.sources.video import open_input
from davis_exp.experiment import build, checkpoints
from davis_exp.experiment.exporting import Exporter
from davis_exp.experiment.prediction import Output, Predictor, same_pixels
from davis_exp.inference import Inference, spans
from davis_exp.models import zoo
from davis_exp.models.segmenter import Prediction
from davis_exp.results.video import VideoWriter

GOAL = 0.85
GRAPHS = {"fp32": 1.8, "int8": 3.0}  # precision: how much faster than eager the model alone shall be
WHOLE = 2.0  # how much faster whole predict shall be in 8 bits


def video(path: Path, size: tuple[int, int], frames: int) -> Path:
    """A generated clip as an mp4."""
    height, width = size
    (sequence,) = GeneratedSource(train=1, test=1, length=frames, height=height, width=width).sequences(
        "test"
    )
    with VideoWriter(path) as writer:
        for i in range(frames):
            writer.add(sequence.frame(i), Fraction(i, 24))
    return path


def checkpoint(path: Path, cfg: Any) -> Path:
    """A checkpoint of the composed model as it starts, without pretrained weights."""
    state = {f"model.{name}": value for name, value in build.build_model(cfg).state_dict().items()}
    torch.save({"config": build.plain(cfg), "state_dict": state}, path)
    return path


@torch.inference_mode()
def bare(predictor: Predictor, how: Inference, sequence: VideoSequence, flow: bool = True) -> None:
    """The calls of the model, and with `flow` of its optical flow, that the sequence takes, and nothing else."""
    model, frames, done = predictor.model, len(sequence), 0
    gaps = how.flow_gaps or (None,)
    states: list = [None] * len(gaps)
    if model.context is None:
        clips = [1] * frames
    elif model.context == (0, 0):
        clips = [min(how.window, frames - start) for start in range(0, frames, how.window)]
    else:
        clips = [stop - start for start, stop in spans(frames, how.window, how.stride)]
    made = {
        length: torch.rand(1, length, 3, *(how.size or (0, 0)), device=predictor.device)
        for length in set(clips)
    }
    for length in clips:
        clip = made[length]
        if model.needs_motion and flow:
            for i in range(done, min(done + length, frames)):
                for gap in gaps:
                    predictor.motion.vectors(sequence, i, gap)
        done += length
        for k, state in enumerate(states):
            prediction, states[k] = model(clip, clip if model.needs_motion else None, state)
            prediction.logits.cpu()  # waits for the device


def graphs(given: str | Path, folder: Path, data: Path | None) -> dict[str, Predictor]:
    """A checkpoint as ONNX graphs, by precision."""
    source = open_source(data) if data else GeneratedSource(train=8, test=1, height=480, width=854)
    exporter = Exporter(checkpoints.read(given))
    found = {}
    for precision in GRAPHS:
        path = folder / f"{precision}.onnx"
        exporter.write(path, precision, source.sequences("train") if precision == "int8" else ())
        found[precision] = Predictor(path)
        path.unlink()
    return found


def answer_ellipses(module: torch.nn.Module, arguments: Any, answer: tuple[Prediction, Any]) -> Any:
    """A forward hook: logits of an ellipse."""
    prediction, state = answer
    shown = ellipse(*prediction.logits.shape[-2:]).to(prediction.logits)
    return replace(prediction, logits=shown.expand_as(prediction.logits)), state


@functools.cache
def ellipse(height: int, width: int) -> torch.Tensor:
    """Logits (H, W) of one; made once, as it is no work of the model's."""
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    return 9 - 40 * (x**2 + y**2)


def speed(work: Callable[[], Any], frames: int) -> tuple[float, float]:
    """Frames a second, and CPU milliseconds of a frame."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return frames / (time.perf_counter() - wall), 1000 * (time.process_time() - cpu) / frames


def main() -> None:
    parser = _report.parser(__doc__, rounds=5)
    parser.add_argument("--models", nargs="+", default=["mobile", "contest_pretrained", zoo.DEFAULT])
    parser.add_argument("--graphs", nargs="*", default=[zoo.DEFAULT, "mobile"])
    parser.add_argument("--data", type=Path, help="a data set in DAVIS layout")
    parser.add_argument(
        "--size", type=int, nargs=2, default=(480, 854), metavar=("H", "W"), help="of the video"
    )
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="PyTorch's (default: one a core)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = _report.Report("infer", ("torch", "av", "opencv-python-headless", "onnxruntime"))
    with (
        tempfile.TemporaryDirectory() as temporary,
        initialize_config_dir(str(conf_dir()), version_base="1.3"),
    ):
        folder = Path(temporary)
        clip = video(folder / "clip.mp4", tuple(args.size), args.frames)
        (decoded,) = open_input(clip)
        frames = ArraySequence(decoded.frame(i) for i in range(len(decoded)))
        for name in args.models:
            given = name
            if not zoo.is_model_file(name):
                given = checkpoint(folder / f"{name}.ckpt", compose("train", [f"experiment={name}"]))
            predictor = Predictor(given)
            predictor.model.register_forward_hook(answer_ellipses)
            how = replace(predictor.how, size=same_pixels(predictor.how.size, tuple(args.size)))
            turns: dict[str, Callable[[], Any]] = {
                "the bare model": lambda predictor=predictor, how=how: bare(predictor, how, frames),
                "predict": lambda predictor=predictor, name=name: predictor.write(
                    open_input(clip)[0], Output(folder / name.replace("/", "_"))
                ),
            }
            made = graphs(given, folder, args.data) if name in args.graphs else {}
            if made:
                turns["the model alone"] = lambda predictor=predictor, how=how: bare(
                    predictor, how, frames, False
                )
            for precision, graph in made.items():
                graph.model.register_forward_hook(answer_ellipses)
                turns[f"{precision} alone"] = lambda graph=graph, how=how: bare(graph, how, frames, False)
                turns[f"predict, {precision}"] = lambda graph=graph, precision=precision: graph.write(
                    open_input(clip)[0], Output(folder / precision)
                )
            measured: dict[str, list[tuple[float, float]]] = {turn: [] for turn in turns}
            peaks: dict[str, list[float]] = {turn: [] for turn in turns}
            for round_ in range(args.rounds + 1):
                for turn, work in turns.items():
                    _report.reset_peak()
                    found = speed(work, args.frames)
                    if round_:  # the first warms up
                        measured[turn].append(found)
                        peaks[turn] += _report.peak()
            report.say(f"{name}, which sees {how.size}")
            for turn, values in measured.items():
                report.figure(f"{name}: {turn}", [fps for fps, _ in values], "frames/s")
                report.figure(f"{name}: {turn}, CPU", [cpu for _, cpu in values], "ms a frame")
                if peaks[turn]:
                    report.figure(f"{name}: {turn}, memory of the GPU", peaks[turn], "MB at its peak")
            pairs = zip(measured["predict"], measured["the bare model"], strict=True)
            ratios = [own / alone for (own, _), (alone, _) in pairs]
            report.ratio(f"{name}: predict / the bare model", sorted(ratios)[len(ratios) // 2], GOAL)
            for precision in made:
                whole = WHOLE if precision == "int8" else None
                for one, other, goal in (
                    (f"{precision} alone", "the model alone", GRAPHS[precision]),
                    (f"predict, {precision}", "predict", whole),
                ):
                    pairs = zip(measured[one], measured[other], strict=True)
                    ratios = [own / eager for (own, _), (eager, _) in pairs]
                    report.ratio(f"{name}: {one} / {other}", sorted(ratios)[len(ratios) // 2], goal)
                    pairs = zip(measured[other], measured[one], strict=True)
                    ratios = [eager / own for (_, eager), (_, own) in pairs]
                    report.ratio(f"{name}: {one} / {other}, by CPU time", sorted(ratios)[len(ratios) // 2])
    report.write(args.json)


if __name__ == "__main__":
    main()
