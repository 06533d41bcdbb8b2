"""davis-exp score: the contest's score and the official J, F (and T) of results."""

import argparse
from pathlib import Path

from davis_exp.commands.options import add_limit, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from davis_exp.metrics.measures import PROTOCOLS

    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder, zip, or <seq>/00000.png folder"
    )
    parser.add_argument(
        "truth", type=Path, metavar="TRUTH", help="labelled data set in DAVIS or contest layout"
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
    add_limit(parser)
    add_workers(parser)
    parser.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="keep the truth packed here: faster next time"
    )


def run(args: argparse.Namespace) -> int:
    from davis_exp.data.sources import open_source
    from davis_exp.metrics.measures import PROTOCOLS
    from davis_exp.results.artifact import Results
    from davis_exp.results.check import form_defects, refuse
    from davis_exp.results.output import write_csv, write_json
    from davis_exp.results.scoring import score
    from davis_exp.results.table import score_rows, score_table
    from davis_exp.results.truth import Truth
    from davis_exp.utils.progress import progress_bar

    sequences = open_source(args.truth).sequences("test")
    results = Results.open(args.results, strict=False)
    refuse(args.results, form_defects(results, sequences, args.limit))
    with progress_bar("scoring") as progress:
        scored = score(
            results,
            sequences,
            stability=args.stability_of or ([] if args.stability else None),
            workers=args.workers,
            truth=Truth(args.cache),
            progress=progress,
        )
    print(score_table(scored, args.protocol or PROTOCOLS))
    if args.json:
        write_json(args.json, scored)
    if args.csv:
        write_csv(args.csv, score_rows(scored))
    return 0
