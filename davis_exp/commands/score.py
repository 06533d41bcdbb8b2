"""davis-exp score: the contest's score and the official J, F (and T) of results."""

import argparse
from pathlib import Path

from davis_exp.commands.options import add_limit, add_masks, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from davis_exp.metrics.measures import PROTOCOLS

    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder, zip, or folder of …/<seq>/<frame>.png"
    )
    parser.add_argument(
        "truth", type=Path, metavar="TRUTH", help="labelled data set, as its folder or <layout>:<folder>"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, frame by frame")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row a sequence and one for all")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        action="append",
        help="show this one only (may be repeated; default: all)",
    )
    parser.add_argument(
        "--stability",
        action="store_true",
        help="T too, which is slow, on the sequences that the official evaluation marks for it",
    )
    parser.add_argument(
        "--stability-of", action="append", metavar="SEQUENCE", help="T on this sequence (may be repeated)"
    )
    add_masks(parser)
    add_limit(parser)
    add_workers(parser)
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="keep the truth packed here: faster next time"
    )


def run(args: argparse.Namespace) -> int:
    from davis_exp.metrics.measures import PROTOCOLS
    from davis_exp.results.output import write_csv, write_json
    from davis_exp.results.scored import score
    from davis_exp.results.table import score_rows, score_table
    from davis_exp.utils.errors import BadInput
    from davis_exp.utils.progress import progress_bar

    with progress_bar("scoring") as progress:
        scored = score(
            args.results,
            args.truth,
            limit=args.limit,
            masks=args.masks,
            void=args.void,
            ends=set(args.protocol or PROTOCOLS) != {"davis2016"},
            stability=args.stability_of or ([] if args.stability else None),
            workers=args.workers,
            cache=args.cache,
            progress=progress,
        )
    print(score_table(scored, args.protocol or PROTOCOLS))
    if (args.json or args.csv) and "contest" not in scored:
        raise BadInput("without the end frames there is no whole score to write: leave out --json and --csv")
    if args.json:
        write_json(args.json, scored)
    if args.csv:
        write_csv(args.csv, score_rows(scored))
    return 0
