"""Peak memory of predicting a long video against a short one, one process each.

    scripts/bench memory [--frames 40 400] [--experiments mobile csn3d_small …] [--json F]

The ratio should be 1: inference holds a few frames, whatever the length. The model starts without weights; frames are
generated ones.
"""

import json
import subprocess
import sys

import _report

CHILD = """
import json, resource, sys
import torch
from hydra import compose, initialize_config_dir
from davis_exp.experiment import build
from davis_exp.config import conf_dir
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.inference import predict

experiment, frames = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(2)
with initialize_config_dir(str(conf_dir()), version_base="1.3"):
    cfg = compose("train", [f"experiment={experiment}", "data.size=[96,160]"])
model = build.build_model(cfg).eval()
sequence = GeneratedSource(train=1, test=1, length=frames, height=240, width=427).sequences("test")[0]
count = sum(1 for _ in predict(model, sequence, build.inference(cfg), motion=build.build_motion(cfg)))
assert count == frames, count
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""


def peak(experiment: str, frames: int) -> float:
    """Peak resident memory, MB, of a process that predicts `frames` frames."""
    command = [sys.executable, "-W", "ignore", "-c", CHILD, experiment, str(frames)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    parser = _report.parser(__doc__, rounds=1)
    parser.add_argument("--frames", type=int, nargs=2, default=(40, 400), metavar=("FEW", "MANY"))
    parser.add_argument("--experiments", nargs="+", default=["mobile", "tmo_lite", "csn3d_small"])
    args = parser.parse_args()
    report = _report.Report("memory", ("torch", "timm", "segmentation-models-pytorch"))
    for name in args.experiments:
        turns = [[peak(name, frames) for frames in args.frames] for _ in range(args.rounds)]
        few, many = (
            report.figure(f"{name}: {frames} frames", list(values), "MB")
            for frames, values in zip(args.frames, zip(*turns, strict=True), strict=True)
        )
        report.ratio(
            f"{name}: memory, {args.frames[1]} frames / {args.frames[0]}", many / few, 1.1, at_least=False
        )
    report.write(args.json)


if __name__ == "__main__":
    main()
