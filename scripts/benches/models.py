"""What the experiments cost, side by side in one run: a row each, as the README's table has it.

    scripts/bench models [EXPERIMENT …] [--size 192 320] [--rounds 3] [--json F]

Parameters, FLOPs and peak activations are those of `davis-exp budget`, at 480 x 854. CPU seconds are user + system per
output frame of 192 x 320, inference alone (no decoding, no flow), the median of rounds in which the experiments take
turns; the last column compares with the first experiment.
"""

import time

import _report
import torch
from hydra import compose, initialize_config_dir

from davis_exp.config import conf_dir
from davis_exp.experiment import build

DEFAULT = (
    *("quickstart", "mobile", "contest_pretrained", "tmo_lite", "matnet_lite", "hfan_lite"),
    *("csn3d_small", "csn3d_lite"),
)


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
    parser = _report.parser(__doc__, rounds=3)
    parser.add_argument("experiments", nargs="*", default=DEFAULT)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 320), metavar=("H", "W"))
    args = parser.parse_intermixed_args()
    report = _report.Report("models", ("torch", "timm", "segmentation-models-pytorch"))
    torch.set_num_threads(1)  # threads that wait for each other would count as CPU time
    costs, models = {}, {}
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for name in args.experiments:
            cfg = compose("train", [f"experiment={name}"])
            costs[name], how = build.cost(cfg).to_dict(), build.inference(cfg)
            models[name] = (build.build_model(cfg).eval(), how.window, how.stride)
    turns = [
        {name: seconds_per_frame(model, tuple(args.size), *steps) for name, (model, *steps) in models.items()}
        for _ in range(args.rounds + 1)  # the first warms up
    ]
    seconds = {
        name: report.figure(name, [turn[name] for turn in turns[1:]], "s CPU a frame") for name in models
    }
    first = next(iter(models))
    for name in list(models)[1:]:
        report.ratio(f"CPU, {name} / {first}", seconds[name] / seconds[first])
    report.content["costs"] = costs
    report.say("\n| experiment | parameters | GFLOPs a frame | peak activations | CPU s a frame | ratio |")
    report.say("|---|---|---|---|---|---|")
    for name, cost in costs.items():
        report.say(
            f"| `{name}` | {cost['parameters'] / 1e6:.1f} M | {cost['flops'] / 1e9:.1f} | "
            f"{cost['activations'] / 2**20:.0f} MB | {seconds[name]:.3f} | {seconds[name] / seconds[first]:.2f} |"
        )
    report.write(args.json)


if __name__ == "__main__":
    main()
