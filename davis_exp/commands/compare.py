"""davis-exp compare: results against each other, paired by sequence and frame."""

import argparse
from pathlib import Path

from davis_exp.commands.options import add_overwrite, add_truth
from davis_exp.commands.truth import source
from davis_exp.utils.errors import BadInput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from davis_exp.metrics.measures import MEASURES, PROTOCOLS, SELECTED

    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="two or more runs or score.json files; the first is the base",
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: the measure's")
    said = "default: %(default)s; a protocol without it has its own compared"
    parser.add_argument("--measure", choices=MEASURES, default=SELECTED.name, help=said)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparisons")
    parser.add_argument("--html", type=Path, metavar="PAGE", help="two runs side by side, frame by frame")
    add_overwrite(parser)
    add_truth(parser)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from davis_exp.metrics.measures import MEASURES
    from davis_exp.results.comparison import compare, short_names
    from davis_exp.results.output import write_json
    from davis_exp.results.pages.files import refuse_other
    from davis_exp.runs.score import read as read_score
    from davis_exp.utils.tables import aligned

    if len(args.paths) < 2:
        raise BadInput("compare needs two or more scores: give runs or score.json files")
    if args.html and len(args.paths) > 2:
        raise BadInput(f"--html shows two runs side by side, not {len(args.paths)}: give two")
    if args.html:
        refuse_other(args.html, "--html", overwrite=args.overwrite)
    names = short_names(args.paths)
    scores = [read_score(path) for path in args.paths]
    found = {
        name: compare(scores[0], score, protocol=args.protocol, measure=args.measure)
        for name, score in zip(names[1:], scores[1:], strict=True)
    }
    for name, own in found.items():
        text = MEASURES[own.measure].text
        rows = [
            [sequence, text(a), text(b), text(difference, "+.2f")]
            for sequence, (a, b, difference) in own.sequences.items()
        ]
        low, high = own.interval
        print("\n".join(aligned([[own.measure, names[0], name, "difference"], *rows])))
        print(
            f"{own.measure} of {name} less that of {names[0]}: {text(own.difference, '+.2f')}, "
            f"95 % interval {text(low, '+.2f')} … {text(high, '+.2f')} over clips"
        )
        print(
            f"{name} is better in {100 * own.better:.0f} % of the frames; "
            f"decided by {', '.join(own.decided_by) or 'no clip: they are equal'}"
        )
        print(own.sentence(names[0], name))
    if args.json:
        write_json(
            args.json, {"base": names[0], "others": {name: asdict(own) for name, own in found.items()}}
        )
    if args.html:
        _write_page(args, names)
    return 0


def _write_page(args: argparse.Namespace, names: list[str]) -> None:
    from davis_exp.results.artifact import Results
    from davis_exp.results.output import write_text
    from davis_exp.results.pages.compared import versus
    from davis_exp.results.pages.subject import Run, open_subject, truth_of
    from davis_exp.utils.progress import progress_bar

    paths = [path.parent if path.name == "score.json" else path for path in args.paths]
    first = paths[0]
    data = source(args.truth, Run.of(first), first)
    sequences = truth_of(data, Results.open(first))
    a, b = (open_subject(path, name, sequences) for path, name in zip(paths, names, strict=True))
    with progress_bar("page") as progress:
        text = versus(a, b, sequences, progress=progress)
    write_text(args.html, text)
    print(f"{args.html}: {len(text.encode()) / 1e6:.1f} MB", flush=True)
