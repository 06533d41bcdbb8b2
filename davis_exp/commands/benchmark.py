"""davis-exp benchmark: what a checkpoint takes in each engine on this machine, and what it scores there."""

import argparse
from pathlib import Path

from davis_exp.commands.options import add_allow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a run's checkpoints/best.ckpt or a model that ships"
    )
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="labelled data set: its test frames are predicted, its train frames decide int8",
    )
    parser.add_argument(
        "--frames", type=int, default=48, metavar="N", help="so many test frames are predicted (default: 48)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="in which all take turns (default: 5)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table to this file")
    add_allow(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp.experiment.benchmark import benchmark, table
    from davis_exp.results.output import write_json
    from davis_exp.utils.errors import BadInput

    if min(args.frames, args.rounds) < 1:
        raise BadInput(f"--frames and --rounds: must be at least 1, got {args.frames} and {args.rounds}")
    rows = benchmark(args.checkpoint, args.data, args.frames, args.rounds, args.allow)
    print(table(rows))
    if args.json:
        write_json(args.json, {"checkpoint": str(args.checkpoint), "rows": rows})
    return 0
