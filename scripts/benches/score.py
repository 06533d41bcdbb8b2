"""What scoring costs: J + F against decoding alone and against the vos-benchmark package, and T for a pair.

    scripts/bench score ../davis [--workers N] [--json F]

Everything runs on the same masks in one process, in turns; CPU and wall seconds, medians of rounds. The predictions are
the true masks, shifted and blurred, then binarised. What scoring may cost is measured against decoding by OpenCV: our own
decoding is several times as fast. Ours measures boundary IoU besides.
vos-benchmark is left out if it is missing; scripts/bench installs it.
"""

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _report
import cv2
import numpy as np

from davis_exp.data import png
from davis_exp.data.sources import open_source
from davis_exp.data.sources.files import FileSequence
from davis_exp.metrics.stability import instability, shape
from davis_exp.results.artifact import Results
from davis_exp.results.scoring import score
from davis_exp.results.truth import Truth


def main() -> None:
    parser = _report.parser(__doc__, rounds=3)
    parser.add_argument("data", type=Path, help="labelled data set")
    parser.add_argument("--workers", type=int, default=1, help="threads or processes, of both programs")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    report = _report.Report("score", ("numpy", "opencv-python-headless", "deflate", "vos-benchmark"))
    sequences = [own for own in open_source(args.data).sequences("test") if isinstance(own, FileSequence)]
    with tempfile.TemporaryDirectory() as temporary:
        measure(report, sequences, Path(temporary), args.rounds, args.workers)
    report.write(args.json)


def measure(
    report: _report.Report, sequences: list[FileSequence], folder: Path, rounds: int, workers: int
) -> None:
    truths, predictions = folder / "truth", folder / "predictions"
    files = []
    for sequence in sequences:
        (predictions / sequence.name).mkdir(parents=True)
        (truths / sequence.name).mkdir(parents=True)
        for i, mask in enumerate(sequence.masks or ()):
            predicted = predictions / sequence.name / mask.name
            predicted.write_bytes(png.encode(perturbed(sequence.mask(i))))
            files += [predicted, Path(shutil.copy(mask, truths / sequence.name / mask.name))]
    packed = folder / "packed"
    Truth(packed).prepare(sequences)

    def ours(truth: Truth) -> None:
        score(Results.open(predictions), sequences, workers=workers, truth=truth)

    programs: dict[str, Callable[[], object]] = {
        "decoding, ours": lambda: consume(png.decode(file.read_bytes(), file.name) for file in files),
        "decoding, OpenCV": lambda: consume(
            cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED) for file in files
        ),
        "J + F, ours": lambda: ours(Truth()),
        "J + F, ours, truth kept": lambda: ours(Truth(packed)),
    }
    if find_spec("vos_benchmark"):
        from vos_benchmark.benchmark import benchmark

        programs["J + F, vos-benchmark"] = lambda: benchmark(
            [str(truths)], [str(predictions)], num_processes=workers, verbose=False, skip_first_and_last=False
        )
    turns = [{name: timed(program) for name, program in programs.items()} for _ in range(rounds)]
    report.say(f"{len(files) // 2} frames, {workers} worker(s)")
    cpu, wall = (
        {
            name: report.figure(f"{name}: {what}", [turn[name][k] for turn in turns], f"s {what}")
            for name in programs
        }
        for k, what in enumerate(("CPU", "wall"))
    )
    goals: list[tuple[str, str, float | None, bool]] = [
        ("J + F, ours", "decoding, OpenCV", 1.5, False),
        ("J + F, ours", "decoding, ours", None, False),
        ("J + F, vos-benchmark", "J + F, ours", 3.5, True),
        ("J + F, vos-benchmark", "J + F, ours, truth kept", 5, True),
    ]
    for above, below, goal, at_least in goals:
        if above in programs:
            report.ratio(f"CPU, {above} / {below}", cpu[above] / cpu[below], goal, at_least=at_least)
            report.ratio(f"wall, {above} / {below}", wall[above] / wall[below])
        else:
            report.say(f"{above} is not measured: vos-benchmark is not installed")
    masks = [sequence.mask(i) for sequence in sequences for i in (0, 1)]
    pairs = list(pairwise(masks))
    stability = [timed(lambda: [instability(shape(a), shape(b)) for a, b in pairs])[0] for _ in range(rounds)]
    report.figure(
        "T of a pair (the published code: about 1900)", [1000 * s / len(pairs) for s in stability], "ms CPU"
    )


def perturbed(mask: np.ndarray) -> np.ndarray:
    """A plausible prediction: 0 or 255."""
    blurred = cv2.GaussianBlur(np.roll(mask, 7, axis=1).astype(np.float32), (0, 0), 2)
    return np.where(blurred >= 0.5, 255, 0).astype(np.uint8)


def consume(items: Iterable[object]) -> None:
    """Run through all items and keep none: memory kept would be memory to be cleared."""
    for _ in items:
        pass


def timed(program: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, children's too, and wall seconds."""
    begin, wall = cpu_seconds(), time.perf_counter()
    program()
    while multiprocessing.active_children():  # joins them: until then their seconds are not counted
        time.sleep(0.005)
    return cpu_seconds() - begin, time.perf_counter() - wall


def cpu_seconds() -> float:
    """CPU seconds that this process and its finished children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(own.ru_utime + own.ru_stime for own in used)


if __name__ == "__main__":
    main()
