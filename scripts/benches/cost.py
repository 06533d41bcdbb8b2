"""Does the cost model foretell the time of compositions that it has not seen?

    scripts/bench cost [--number 20] [--seed 0] [--measure] [--rounds 3] [--json F]

Draws compositions from the groups, leaves out those that the machine was measured with and those that cannot be built, and
runs each once for warmth and --rounds times: CPU seconds of one thread. What was foretold comes from the meta device
alone. Frames are 480 x 854; 240 x 427 for models that look at windows. The machine's measurement is the stored one; with
--measure, or where there is none, it is measured first.
"""

import itertools
import random
import statistics

import _report
import torch

from davis_exp import budget
from davis_exp.budget import speed
from davis_exp.config import conf_dir, groups
from davis_exp.experiment import build, calibration
from davis_exp.launch.hydra import compose
from davis_exp.utils.errors import BadInput

LEFT_OUT = {  # those that stand for others, need motion, or run for minutes
    "encoder": ("timm", "smp", "torchvision_video", "csn152", "efficientnet_lite0_frozen", "pixel"),
    "temporal": (),
    "decoder": ("refine3d", "boundary", "cbam"),
}


def candidates() -> list[tuple[str, ...]]:
    """All combinations of the groups' options but for those left out and those measured with, as overrides."""
    found = groups(conf_dir(), "budget")
    options = [
        [f"{group}={name}" for name in found[group][1] if name not in left and "two_stream" not in name]
        for group, left in LEFT_OUT.items()
    ]
    seen = [set(overrides) | {"temporal=none"} for _, overrides in calibration.COMPOSITIONS]
    return [choice for choice in itertools.product(*options) if not any(set(choice) <= s for s in seen)]


def main() -> None:
    parser = _report.parser(__doc__, rounds=3)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="measure the machine first")
    args = parser.parse_args()
    report = _report.Report("cost", ("torch", "timm", "segmentation-models-pytorch"))
    if args.measure or not speed.path().exists():
        speed.save(calibration.measure_machine(lambda overrides: compose(overrides, "budget")))
    machine = speed.load()
    report.say(f"{machine.machine}; left-out error of the fit {machine.error:.1%}")
    drawn = candidates()
    random.Random(args.seed).shuffle(drawn)
    errors: list[float] = []
    for overrides in drawn:
        if len(errors) == args.number:
            break
        try:
            cfg = compose([*overrides, "budget=none"], "budget")
            model = build.build_model(cfg).eval()
        except BadInput as refused:
            report.say(f"  left out: {' '.join(overrides)}: {str(refused)[:60]}")
            continue
        how = build.inference(cfg)
        size = budget.FRAME if model.context in (None, (0, 0)) else (240, 427)
        cost = budget.measure(model, size=size, window=how.window, step=how.stride)
        told = budget.milliseconds(cost)
        length, step = budget.clip(model.context, how.window, how.stride)
        inputs = budget.inputs(model, torch.rand(1, length, 3, *size))
        took = [1e3 * seconds / step for seconds in speed.whole(model, inputs, rounds=args.rounds)]
        measured = report.figure(" ".join(o.partition("=")[2] for o in overrides), took, "ms a frame")
        errors.append(told / measured - 1)
        report.say(f"      foretold {told:.3f} ms, {errors[-1]:+.1%}")
    signed = statistics.median(errors)
    report.say(
        f"{len(errors)} compositions, median of the signed error {signed:+.1%}, worst {max(map(abs, errors)):.1%}"
    )
    report.ratio(
        "median error of the foretold time", statistics.median(map(abs, errors)), 0.2, at_least=False
    )
    report.write(args.json)


if __name__ == "__main__":
    main()
