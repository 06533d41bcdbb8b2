"""One model in several engines, side by side: time, memory, size of the file, score."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import nn

from davis_exp.data.sequences import VideoSequence
from davis_exp.data.sources import open_source
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.data.sources.video import open_input
from davis_exp.experiment import build, checkpoints
from davis_exp.experiment.exporting import Exporter, first, score
from davis_exp.experiment.prediction import Output, Predictor, same_pixels
from davis_exp.results.video import VideoWriter
from davis_exp.utils.errors import BadInput, brief

GRAPHS = {
    "ONNX Runtime fp32": ("fp32.onnx", "fp32"),
    "ONNX Runtime int8": ("int8.onnx", "int8"),
    "OpenVINO fp32": ("fp32.xml", "fp32"),
    "OpenVINO int8": ("int8.xml", "int8"),
}
COLUMNS = {
    "ms": "ms a frame",
    "times": "x eager",
    "fps": "predict, frames/s",
    "memory_mb": "memory, MB",
    "file_mb": "file, MB",
    "score": "score",
}


def benchmark(
    checkpoint: str | Path, data: str | None, frames: int, rounds: int, allow: Collection[str] = ()
) -> list[dict[str, Any]]:
    """A row for each engine; what could not be measured is None, and `note` says why.

    `ms` is of the model alone, `times` how much faster that is than eager (the median of rounds in which all take
    turns), `fps` that of whole `predict` on a video, `memory_mb` the peak of a process that predicts it, `score` the
    contest's. Without `data` frames are generated ones, int8 takes its ranges from them, and there is no score.

    Raises BadInput for a checkpoint that cannot be exported, and for data that cannot be read.
    """
    source = open_source(data) if data else GeneratedSource(train=4, test=2, height=480, width=854)
    test = source.sequences("test")
    few = [first(sequence, max(2, -(-frames // len(test)))) for sequence in test]
    with tempfile.TemporaryDirectory(prefix="davis_exp_") as temporary:
        folder = Path(temporary)
        exporter = Exporter(checkpoints.read(checkpoint, allow))
        rows: dict[str, dict[str, Any]] = {"eager": {"file": checkpoints.find(checkpoint)}, "compiled": {}}
        for name, (file, precision) in GRAPHS.items():
            rows[name] = {"file": folder / file}
            try:
                exporter.write(folder / file, precision, source.sequences("train"))
            except BadInput as error:  # OpenVINO that is not installed
                rows[name] = {"note": str(error)}
        clip = _video(folder / "clip.mp4", test[0], frames)
        runners = {}
        for name, row in rows.items():
            try:
                runners[name] = _predictor(row.get("file") or checkpoint, allow, name, row)
            except BadInput as error:
                row["note"] = str(error)
        _measure(rows, runners, clip, rounds, folder)
        for name, runner in runners.items():
            if data:
                rows[name]["score"] = score(runner.model, few, runner.how, exporter.motion)
            if name != "compiled":
                rows[name]["memory_mb"] = _memory(rows[name]["file"], clip, folder / "masks", allow)
                rows[name]["file_mb"] = _size(rows[name]["file"])
        return [
            {"engine": name, **{key: row.get(key) for key in (*COLUMNS, "note")}}
            for name, row in rows.items()
        ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Plain text: a line per engine, and what could not be measured."""
    lines = [["engine", *COLUMNS.values()]]
    for row in rows:
        digits = [3 if key == "score" else 1 for key in COLUMNS]
        values = [
            "-" if row[key] is None else f"{row[key]:.{n}f}" for key, n in zip(COLUMNS, digits, strict=True)
        ]
        lines.append([row["engine"], *values])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    ]
    return "\n".join([*shown, *(f"{row['engine']}: {row['note']}" for row in rows if row["note"])])


def _predictor(file: str | Path, allow: Collection[str], name: str, row: dict[str, Any]) -> Predictor:
    predictor = Predictor(file, device="cpu", allow=allow)
    if name == "compiled":
        build.compile_quietly(predictor.model)
        try:
            _call(predictor.model, _size_seen(predictor))
        except Exception as error:  # no compiler of C++, most often
            raise BadInput(f"torch.compile: {brief(error)}") from error
    return predictor


def _size_seen(predictor: Predictor, shape: tuple[int, int] = (480, 854)) -> tuple[int, int]:
    return same_pixels(predictor.how.size, shape) or shape


@torch.inference_mode()
def _call(model: nn.Module, size: tuple[int, int], window: int = 8) -> int:
    """Calls the model as inference would; returns how many frames it was given."""
    count = window if model.context not in (None, (0, 0)) else 4
    clip = torch.rand(1, count, 3, *size)
    motion = clip if model.needs_motion else None
    if model.context is not None:
        model(clip, motion)
        return count
    state = None
    for t in range(count):
        _, state = model(clip[:, t : t + 1], None if motion is None else motion[:, t : t + 1], state)
    return count


def _measure(
    rows: dict[str, dict[str, Any]], runners: dict[str, Predictor], clip: Path, rounds: int, folder: Path
) -> None:
    """Fill in `ms`, `times` and `fps`: rounds in which all take turns."""
    alone: dict[str, list[float]] = {name: [] for name in runners}
    whole: dict[str, list[float]] = {name: [] for name in runners}
    for round_ in range(rounds + 1):
        for name, runner in runners.items():
            start = time.perf_counter()
            count = _call(runner.model, _size_seen(runner), runner.how.window)
            middle = time.perf_counter()
            given = runner.write(open_input(clip)[0], Output(folder / "masks"))
            if round_:  # the first warms up
                alone[name].append(1000 * (middle - start) / count)
                whole[name].append(given / (time.perf_counter() - middle))
    for name in runners:
        ratios = [eager / own for eager, own in zip(alone["eager"], alone[name], strict=True)]
        rows[name] |= {"ms": statistics.median(alone[name]), "times": statistics.median(ratios)}
        rows[name]["fps"] = statistics.median(whole[name])


def _video(path: Path, sequence: VideoSequence, frames: int) -> Path:
    with VideoWriter(path) as writer:
        for i in range(min(frames, len(sequence))):
            writer.add(sequence.frame(i), Fraction(i, 24))
    return path


# A process begins with the peak of the one that started it: a small one stands between.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code != 0)
"""


def _memory(file: Path, clip: Path, out: Path, allow: Collection[str]) -> float | None:
    """The peak, in MB, of a process that predicts the video; None where it does not end well."""
    allowed = [word for name in allow for word in ("--allow", name)]
    predict = [sys.executable, "-m", "davis_exp", "predict", str(file), str(clip), "-o", str(out)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", PEAK, *predict, "--overwrite", *allowed], capture_output=True, text=True
    )
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return int(done.stdout) / unit if done.returncode == 0 else None


def _size(file: Path) -> float:
    total = file.stat().st_size
    if file.suffix == ".xml":
        with suppress(FileNotFoundError):
            total += file.with_suffix(".bin").stat().st_size
    return total / 1e6
