"""davis-exp check: is this a valid submission?"""

import argparse
from pathlib import Path

from davis_exp.commands.options import add_limit, add_workers
from davis_exp.utils.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder, zip, or folder of …/<seq>/<frame>.png"
    )
    parser.add_argument(
        "--data", type=Path, metavar="TRUTH", help="the data set: check indices, names and sizes too"
    )
    add_limit(parser)
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp.data.sources import open_source
    from davis_exp.results.artifact import Results
    from davis_exp.results.check import defects
    from davis_exp.utils.progress import progress_bar

    sequences = open_source(args.data).sequences("test") if args.data else None
    found = 0
    with progress_bar("checking") as progress:
        for defect in defects(
            args.results, sequences, limit=args.limit, workers=args.workers, progress=progress
        ):
            found += 1
            print(defect)
    if found:
        print(f"{args.results}: {found} defect{'s' if found > 1 else ''}")
        return BadInput.exit_code
    what = "a valid submission" if args.data else "a valid submission in itself"
    if Results.open(args.results).plain:
        what = "masks in order, but no submission: it has no paths.json and states no nparams"
    print(f"{args.results}: {what}{'' if args.data else ' (--data compares it to a data set)'}")
    return 0
