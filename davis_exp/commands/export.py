"""davis-exp export: a checkpoint → one small file to hand on."""

import argparse
from pathlib import Path

from davis_exp.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's checkpoints/best.ckpt")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="ends in .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")


def run(args: argparse.Namespace) -> int:
    from davis_exp import checkpoints, zoo

    if args.out.suffix != zoo.SUFFIX:
        raise BadInput(f"-o {args.out}: its name must end in {zoo.SUFFIX}")
    if args.out.exists() and not args.overwrite:
        raise BadInput(f"{args.out} is there already; choose another -o, or --overwrite")
    checkpoint = checkpoints.read(args.checkpoint)
    model = checkpoints.restore(checkpoint)  # weights that do not fit are found here
    about = {name: value for name, value in checkpoint.items() if name in ("config", "clips")}
    zoo.write(args.out, dict(model.state_dict()), about)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, half precision")
    return 0
