"""davis-exp export: a checkpoint → one small file to hand on."""

import argparse
from pathlib import Path
from typing import Any

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
    about = {"config": _without_folders(checkpoint["config"]), "clips": checkpoint.get("clips", {})}
    zoo.write(args.out, dict(model.state_dict()), about)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, half precision")
    return 0


def _without_folders(node: Any) -> Any:
    """A config in which paths lead nowhere: where data lay on one machine is nobody else's affair."""
    if isinstance(node, dict):
        return {key: _without_folders(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_folders(item) for item in node]
    elsewhere = isinstance(node, str) and (Path(node).is_absolute() or node.startswith(("~", "..")))
    return Path(node).name if elsewhere else node
