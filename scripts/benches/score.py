"""What scoring costs: J + F against decoding alone and against the vos-benchmark package, and T for a pair.

    scripts/bench score ../davis

Everything runs on the same masks in one process, in turns; the least of the rounds counts, as CPU and wall
seconds. The predictions are the true masks, shifted and blurred, then binarised. vos-benchmark is left out if
it is missing; scripts/bench installs it.
"""

import argparse
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

import cv2
import numpy as np

from davis_exp.data.sources import open_source
from davis_exp.data.sources.files import FileSequence
from davis_exp.metrics.stability import instability, shape
from davis_exp.results import png
from davis_exp.results.artifact import Results
from davis_exp.results.scoring import score
from davis_exp.results.truth import Truth


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="labelled data set")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="threads or processes, of both programs")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    sequences = [own for own in open_source(args.data).sequences("test") if isinstance(own, FileSequence)]
    with tempfile.TemporaryDirectory() as temporary:
        measure(sequences, Path(temporary), args.rounds, args.workers)


def measure(sequences: list[FileSequence], folder: Path, rounds: int, workers: int) -> None:
    """Print the table."""
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
    seconds = {name: timed(program) for name, program in programs.items()}
    for _ in range(rounds - 1):
        seconds = {name: min(seconds[name], timed(program)) for name, program in programs.items()}
    print(f"{len(files) // 2} frames, {workers} worker(s), best of {rounds} rounds")
    for name, (cpu, wall) in seconds.items():
        print(f"{name:26}{cpu:8.2f} s CPU{wall:8.2f} s wall")
    print()
    own, kept = "J + F, ours", "J + F, ours, truth kept"
    ratio(seconds, own, "decoding, ours", "at most 1.5")
    ratio(seconds, own, "decoding, OpenCV", "at most 1.5")
    if "J + F, vos-benchmark" in seconds:
        ratio(seconds, "J + F, vos-benchmark", own, "at least 3.5")
        ratio(seconds, "J + F, vos-benchmark", kept, "at least 5")
    else:
        print("vos-benchmark is not installed: no comparison with it")
    masks = [sequence.mask(i) for sequence in sequences for i in (0, 1)]
    pairs = len(masks) - 1
    cpu, _ = timed(lambda: [instability(shape(a), shape(b)) for a, b in pairwise(masks)])
    print(f"T: {1000 * cpu / pairs:.0f} ms CPU a pair (the published code: about 1900)")


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


def ratio(seconds: dict[str, tuple[float, float]], above: str, below: str, goal: str) -> None:
    """Print how many times `below` fits into `above`."""
    cpu, wall = (a / b for a, b in zip(seconds[above], seconds[below], strict=True))
    print(f"{above} / {below}: {cpu:.2f} CPU, {wall:.2f} wall (CPU: {goal})")


if __name__ == "__main__":
    main()
