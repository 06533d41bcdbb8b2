"""What the experiments cost, side by side in one run: a row each, as the README's table has it.

    scripts/bench models [EXPERIMENT …] [--size 192 320] [--rounds 3] [--json F]

Parameters, FLOPs and peak activations are those of `davis-exp budget`, at 480 x 854. CPU seconds are user + system per
output frame of 192 x 320, inference alone (no decoding, no flow), the median of rounds in which the experiments take
turns; the last column compares with the first experiment.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from davis_exp import build
from davis_exp.config import conf_dir

DEFAULT = ("quickstart", "mobile", "contest_pretrained", "tmo_lite", "matnet_lite", "hfan_lite")
DEFAULT += ("csn3d_small", "csn3d_lite")


def seconds_per_frame(model: torch.nn.Module, size: tuple[int, int], window: int, step: int) -> float:
    """CPU seconds of one output frame, as inference runs the model."""
    if model.context in (None, (0, 0)):
        window = step = 1
    clip = torch.rand(1, window, 3, *size)
    began = time.process_time()
    with torch.inference_mode():
        model(clip, clip if model.needs_motion else None)
    return (time.process_time() - began) / step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", default=DEFAULT)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 320), metavar=("H", "W"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    torch.set_num_threads(1)  # threads that wait for each other would count as CPU time
    rows, models = {}, {}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for name in args.experiments:
            cfg = compose("train", [f"experiment={name}"])
            cost, how = build.cost(cfg), build.inference(cfg)
            rows[name] = cost.to_dict()
            models[name] = (build.build_model(cfg).eval(), how.window, how.stride)
    times: dict[str, list[float]] = {name: [] for name in models}
    for round_ in range(args.rounds + 1):
        for name, (model, window, step) in models.items():
            seconds = seconds_per_frame(model, tuple(args.size), window, step)
            if round_:  # the first warms up
                times[name].append(seconds)
    first = statistics.median(times[args.experiments[0]])
    print(f"{platform.processor() or platform.machine()}, one thread, torch {torch.__version__}")
    print("| experiment | parameters | GFLOPs a frame | peak activations | CPU s a frame | ratio |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        row["cpu_seconds"] = statistics.median(times[name])
        print(
            f"| `{name}` | {row['parameters'] / 1e6:.1f} M | {row['flops'] / 1e9:.1f} | "
            f"{row['activations'] / 2**20:.0f} MB | {row['cpu_seconds']:.3f} | {row['cpu_seconds'] / first:.2f} |"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
