"""davis-exp results: results from the masks of any program."""

import argparse
from pathlib import Path

from davis_exp.commands.options import add_limit
from davis_exp.utils.errors import BadInput, OverBudget

MEANINGS = ("auto", "soft", "ids", "binary", "alpha")  # as in results/made.py, which takes a while to import


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser(
        "make",
        help="masks of any framework → a valid artifact",
        epilog="example: davis-exp results make my_masks --data data/DAVIS --nparams 3400000 -o results",
    )
    make.add_argument(
        "masks",
        type=Path,
        metavar="FOLDER_OF_MASKS",
        help="…/<sequence>/<frame>.png, or <index>.png by the data set's order, from 0 on; a zip of them too",
    )
    make.add_argument(
        "--data",
        metavar="DATA",
        required=True,
        help="the data set that they are of, as its folder or <layout>:<folder>",
    )
    make.add_argument(
        "--nparams", type=_count, required=True, metavar="N", help="parameters of all components, frozen too"
    )
    make.add_argument("--nflops", type=_count, metavar="N", help="FLOPs of a frame at 480x854")
    make.add_argument("--name", metavar="NAME", help="the model's (default: that of FOLDER_OF_MASKS)")
    make.add_argument("-o", "--out", type=Path, metavar="OUT", help="folder (default: <name>-results, here)")
    make.add_argument("--overwrite", action="store_true", help="replace the results in OUT")
    make.add_argument(
        "--masks",
        dest="meaning",
        choices=MEANINGS,
        default="auto",
        help="what marks the object in these masks (default: auto: greys are confidences, other kinds by the file)",
    )
    add_limit(make)


def _count(text: str) -> int:
    digits = text.replace("_", "").replace(",", "")
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits[:19]) < 2**63 and len(digits) < 20):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(digits)


def run(args: argparse.Namespace) -> int:
    from davis_exp.data.sources import open_source
    from davis_exp.results.made import make
    from davis_exp.utils.progress import progress_bar

    name = args.name or args.masks.resolve().stem
    out = args.out or Path(f"{name}-results")
    if args.limit is not None and args.nparams > args.limit:
        over = args.nparams - args.limit
        raise OverBudget(f"over budget by {over:,}: --nparams {args.nparams:,}, the limit is {args.limit:,}")
    if out.exists() and not args.overwrite:
        raise BadInput(f"{out} is there already; choose another -o, or --overwrite")
    sequences = open_source(args.data).sequences("test")
    about = {"model": name, "nparams": args.nparams, "nflops": args.nflops}
    with progress_bar("masks") as progress:
        defects = make(args.masks, sequences, out, about, meaning=args.meaning, progress=progress)
    for defect in defects:
        print(defect)
    frames = sum(map(len, sequences))
    if defects:
        print(f"{args.masks}: {len(defects)} defect{'s' * (len(defects) > 1)}, nothing written")
        return BadInput.exit_code
    print(f"{out}: {frames:,} masks, {args.nparams:,} parameters; next: davis-exp submit {out}")
    return 0
