"""What limits training on 1 to 64 GPUs, and with YouTube-VOS's number of clips: costs measured here, the rest simulated.

    scripts/bench scale [--step 100] [--workers 8] [--link 12.5] [--clips 3471 --length 27] data.root=../davis …

Measured on this machine for the composed training: CPU time of every clip that a loader makes (from files with flow from
its cache, and from the cache of decoded frames), bytes of a frame decoded, bytes of the model's gradients. Simulated with
them: on each GPU a process that takes `--step` milliseconds for its batch, `--workers` processes that make its batches
ahead, each a core as fast as here, and an all-reduce round a ring of `--link` GB/s after each step, which nobody leaves
before all have come. Not in the simulation: reading from a shared file system; gradients that travel while others are still
computed, which hides most of the all-reduce.
"""

import itertools
import os
import random
import tempfile
import time
from pathlib import Path

import _report
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from davis_exp.config import conf_dir
from davis_exp.data.loaders import start_worker
from davis_exp.experiment import build

WORLDS = (1, 2, 4, 8, 16, 32, 64)
AHEAD = 2  # batches that a worker makes before they are asked for
STEPS = 400


def clip_seconds(cfg: DictConfig, clips: int, rounds: int) -> tuple[list[float], int]:
    """CPU seconds of a worker for each of `clips` clips, `rounds` times, once all that is cached has been; and
    how many frames there are."""
    data = build.build_data(cfg, build.build_motion(cfg))
    data.setup("fit")
    data.prepare_data()
    loader = data.train_dataloader()
    items = list(itertools.islice(loader.sampler, clips))
    found = []
    for round_ in range(rounds + 1):
        for item in items:
            began = time.process_time()
            loader.dataset[item]
            if round_:
                found.append(time.process_time() - began)
    return found, sum(map(len, data.train_sequences))


def efficiency(
    world: int, workers: int, step: float, clips: list[float], batch: int, reduce: float, seed: int = 0
) -> float:
    """The share of the time in which a GPU computes.

    Args:
        step: seconds of a GPU for a batch.
        clips: seconds of a worker for a clip, drawn from at random.
        batch: clips of a rank's batch.
        reduce: seconds of adding up gradients after each step.
    """
    draw = random.Random(seed)
    free = [[0.0] * workers for _ in range(world)]  # when a worker may begin another batch
    taken: list[float] = []  # when the batch of each step was taken
    now = 0.0
    for i in range(STEPS):
        room = taken[i - AHEAD * workers] if i >= AHEAD * workers else 0.0
        ready = 0.0
        for own in free:
            began = max(own[i % workers], room)
            own[i % workers] = began + sum(draw.choices(clips, k=batch))
            ready = max(ready, own[i % workers])
        now = max(now, ready)
        taken.append(now)
        now += step + reduce
    warm = STEPS // 4
    return step * (STEPS - warm) / (now - taken[warm])


def folder_bytes(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def main() -> None:
    parser = _report.parser(__doc__, rounds=3)
    parser.add_argument("overrides", nargs="+", help="as for davis-exp train: what is trained on what")
    parser.add_argument(
        "--step", type=float, default=100.0, help="milliseconds of a GPU for its batch (data.batch_size)"
    )
    parser.add_argument("--workers", type=int, default=8, help="of each GPU")
    parser.add_argument("--link", type=float, default=12.5, help="GB/s between machines")
    parser.add_argument("--clips", type=int, default=3471, help="of the large data set")
    parser.add_argument("--length", type=int, default=27, help="frames of its clips, on average")
    parser.add_argument("--measured", type=int, default=80, help="clips")
    args = parser.parse_intermixed_args()
    report = _report.Report("scale", ("torch", "opencv-python-headless", "deflate"))
    start_worker(0)
    torch.set_num_threads(1)
    seconds = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(conf_dir()), version_base="1.3"),
    ):
        os.environ["DAVIS_EXP_CACHE"] = folder
        for cache in ("none", "disk"):
            overrides = [*args.overrides, f"data.cache={cache}", "data.workers=0"]
            cfg = compose("train", overrides)
            found, frames = clip_seconds(cfg, args.measured, args.rounds)
            seconds[f"cache={cache}"] = found
            report.figure(
                f"cache={cache}: a clip of {cfg.data.clip_length}", [1000 * s for s in found], "ms CPU"
            )
        decoded = folder_bytes(Path(folder, "decoded")) / frames
        gradients = 4 * build.cost(cfg).parameters
    total = args.clips * args.length
    report.figure("a frame, its mask and flow, decoded", [decoded / 1e3], "kB")
    report.figure(f"{args.clips} clips of {args.length} frames, decoded", [decoded * total / 1e9], "GB")
    report.figure("gradients", [gradients / 1e6], "MB a step")
    for name, clips in seconds.items():
        report.say(
            f"{name}, {args.workers} workers and {args.step:g} ms a step: share of the time in which GPUs compute"
        )
        for world in WORLDS:
            ring = 2 * (world - 1) / world * gradients / (1e9 * args.link)
            share = efficiency(world, args.workers, args.step / 1000, clips, cfg.data.batch_size, ring)
            report.ratio(f"{name}: {world} GPUs, each at", share)
    report.write(args.json)


if __name__ == "__main__":
    main()
