"""davis-exp leaderboard: results ranked by the contest's score."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.commands.options import add_limit, add_overwrite, add_workers
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    from davis_exp.results.leaderboard import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from davis_exp.metrics.measures import JUDGED, MEASURES

    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="score.json, runs, or folders that hold some below",
    )
    parser.add_argument(
        "--private",
        type=Path,
        metavar="TRUTH",
        help="the paths are submissions: check and score them against this",
    )
    said = "rank by this measure (default: %(default)s, the contest's)"
    parser.add_argument("--sort", choices=MEASURES, default=JUDGED.name, help=said)
    add_limit(parser)
    add_workers(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the board as a table for programs")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="… for a README")
    parser.add_argument("--html", type=Path, metavar="PAGE", help="… as a page of its own")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp.metrics.measures import MEASURES
    from davis_exp.results.leaderboard import as_markdown, as_text, rows, scored_entries, truths
    from davis_exp.results.output import write_csv, write_text
    from davis_exp.results.pages.files import refuse_other
    from davis_exp.results.pages.leaderboard import as_html

    if args.html:
        refuse_other(args.html, "--html", overwrite=args.overwrite)
    entries = _private(args) if args.private else scored_entries(args.paths)
    board = rows(entries, MEASURES[args.sort])
    print(as_text(board))
    if different := truths(entries):
        print(f"mixed: {different}", file=sys.stderr)
    if args.csv:
        write_csv(args.csv, board)
    if args.markdown:
        write_text(args.markdown, as_markdown(board))
    if args.html:
        write_text(args.html, as_html(board))
    return 0 if any(row["rank"] for row in board) else BadInput.exit_code


def _private(args: argparse.Namespace) -> "list[Entry]":
    from tempfile import TemporaryDirectory

    from davis_exp.results.artifact import Results
    from davis_exp.results.leaderboard import private_entries
    from davis_exp.results.scored import score
    from davis_exp.utils.progress import progress_bar

    how = {"limit": args.limit, "workers": args.workers}
    with TemporaryDirectory() as kept, progress_bar("scoring") as progress:

        def scored(results: Results) -> dict[str, Any]:
            if results.plain and args.limit is not None:
                raise BadInput("a plain folder states no nparams: submit a results folder, or --limit none")
            return score(results.path, args.private, cache=Path(kept), progress=progress, **how)

        return private_entries(args.paths, scored)
