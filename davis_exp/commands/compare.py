"""davis-exp compare: results against each other, paired by sequence and frame."""

import argparse
import re
from pathlib import Path

from davis_exp.errors import BadInput
from davis_exp.metrics import PROTOCOLS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="two or more runs or score.json files; the first is the base",
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default="davis2016", help="default: davis2016")
    parser.add_argument(
        "--measure", choices=("J", "F", "J&F"), default="J", help="default: J (the contest has only IoU)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparisons")


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from davis_exp.results.comparison import compare
    from davis_exp.results.leaderboard import read_score
    from davis_exp.results.output import write_json
    from davis_exp.results.table import aligned, percent

    if len(args.paths) < 2:
        raise BadInput("compare needs two or more scores: give runs or score.json files")
    names = _names(args.paths)
    scores = [read_score(path) for path in args.paths]
    found = {
        name: compare(scores[0], score, protocol=args.protocol, measure=args.measure)
        for name, score in zip(names[1:], scores[1:], strict=True)
    }
    for name, own in found.items():
        rows = [
            [sequence, percent(a), percent(b), f"{100 * difference:+.2f}"]
            for sequence, (a, b, difference) in own.sequences.items()
        ]
        low, high = own.interval
        print("\n".join(aligned([[own.measure, names[0], name, "difference"], *rows])))
        print(
            f"difference {100 * own.difference:+.2f}, "
            f"95 % interval {100 * low:+.2f} … {100 * high:+.2f} over clips"
        )
        print(
            f"{name} is better in {100 * own.better:.0f} % of the frames; "
            f"decided by {', '.join(own.decided_by) or '-'}"
        )
        print(own.sentence(names[0], name))
    if args.json:
        write_json(
            args.json, {"base": names[0], "others": {name: asdict(own) for name, own in found.items()}}
        )
    return 0


def _names(paths: list[Path]) -> list[str]:
    """As much of the ends of the paths as tells them apart; a date alone is no name."""
    from davis_exp.results.leaderboard import subject

    parts = [subject(path).parts for path in paths]
    if len(set(parts)) < len(parts):
        raise BadInput("compare: one score is given twice")
    dated = any(re.match(r"\d{4}-\d\d-\d\d_", own[-1]) for own in parts)
    depth = next(
        n
        for n in range(1 + dated, max(map(len, parts)) + 2)
        if len({own[-n:] for own in parts}) == len(parts)
    )
    return ["/".join(own[-depth:]) for own in parts]
