"""One GPU: training and predicting in frames a second against a bare PyTorch loop on the same card, with memory.

    scripts/bench gpu ../davis [--folder benches] [OVERRIDE …]

Runs `bench train` at a size worth a card (overrides change it) and `bench infer` with the models that ship; each writes
its JSON into the folder. First run `pytest -m gpu`, which says whether the answers are right.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
TRAINING = ("trainer=gpu", "data.size=[320,576]", "data.batch_size=8", "data.workers=8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a labelled data set in DAVIS layout")
    parser.add_argument("overrides", nargs="*", help="of the training's config, after " + " ".join(TRAINING))
    parser.add_argument("--folder", type=Path, default=Path("benches"), help="for train.json and infer.json")
    parser.add_argument("--steps", default="50")
    parser.add_argument("--rounds", default="3", help="each is measured so often, in turns")
    args = parser.parse_intermixed_args()
    if not torch.cuda.is_available():
        print("bench gpu: PyTorch finds no GPU here (torch.cuda.is_available() is false)", file=sys.stderr)
        sys.exit(2)
    args.folder.mkdir(parents=True, exist_ok=True)
    rounds = ("--rounds", args.rounds)
    train = [HERE / "train.py", args.data, *TRAINING, *args.overrides, "--steps", args.steps]
    infer = [HERE / "infer.py", "--models", "mobile", "zoo/zoo_mobile", "zoo/zoo_best"]
    codes = [
        subprocess.run([sys.executable, *command, *rounds, "--json", args.folder / name]).returncode
        for name, command in (("train.json", train), ("infer.json", infer))
    ]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
