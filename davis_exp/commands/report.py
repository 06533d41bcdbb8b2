"""davis-exp report: a page about a run or results, in one file."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.commands.options import add_overwrite, add_truth
from davis_exp.commands.truth import source
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    from davis_exp.results.pages.subject import Run

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="RUN_OR_RESULTS", help="a run's folder, or results")
    add_truth(parser)
    parser.add_argument(
        "--against",
        type=Path,
        action="append",
        default=[],
        metavar="OTHER",
        help="a run, results or score.json to stand beside it (may be repeated)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="PAGE",
        help="default: report.html in the run's folder, or beside results",
    )
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp.launch import status
    from davis_exp.results.artifact import Results
    from davis_exp.results.comparison import short_names
    from davis_exp.results.leaderboard import subject
    from davis_exp.results.output import write_text
    from davis_exp.results.pages.files import refuse_other
    from davis_exp.results.pages.report import report
    from davis_exp.results.pages.subject import Run, open_subject, sequences_of, trusted, unscored_subject
    from davis_exp.results.pages.unscored import unscored
    from davis_exp.utils.progress import progress_bar

    found = Run.of(args.path)
    folder, beside = subject(args.path), args.path.resolve()
    out = args.out or (folder / "report.html" if found else beside.with_name(f"{beside.stem}.html"))
    refuse_other(out, "-o", overwrite=args.overwrite)
    results = Results.open(args.path)
    sequences = sequences_of(source(args.truth, found, args.path), results)
    labelled = all(sequence.labelled for sequence in sequences)
    if not labelled and args.against:
        raise BadInput(
            f"{next(s.name for s in sequences if not s.labelled)} has no masks to compare with: give a labelled data set "
            "as --truth"
        )
    names = short_names([args.path, *args.against])
    others = {
        name: _other_score(path, name, sequences) for name, path in zip(names[1:], args.against, strict=True)
    }
    record = status.current(folder) if found else {}
    cost, limit = _cost(found)
    about: dict[str, Any] = {"run": found, "status": record, "cost": cost, "limit": limit}
    with progress_bar("report") as progress:
        if labelled:
            scored = open_subject(args.path, names[0], sequences, fresh=args.truth is not None)
            certain = trusted(args.path, scored, sequences)
            text = report(scored, sequences, trusted=certain, others=others, progress=progress, **about)
        else:
            plain = unscored_subject(args.path, names[0], sequences)
            certain = trusted(args.path, plain, sequences)
            text = unscored(plain, sequences, certain, progress=progress, **about)
    write_text(out, text)
    print(f"{out}: {len(text.encode()) / 1e6:.1f} MB", flush=True)
    return 0


def _other_score(path: Path, name: str, sequences: list[Any]) -> dict[str, Any]:
    """The score kept at `path`, or that of the results there. Raises BadInput if it is neither."""
    from davis_exp.results.pages.subject import open_subject
    from davis_exp.runs import score as scores

    if (path.is_file() and path.suffix == ".json") or (path / scores.SCORE).is_file():
        return scores.read(path)
    return open_subject(path, name, sequences).score


def _cost(run: "Run | None") -> tuple[dict[str, Any] | None, int | None]:
    """What the run's model costs, counted anew, and its limit; None for what cannot be known here."""
    if run is None or not run.config.keys() & {"model", "checkpoint"}:
        return None, None
    from omegaconf import OmegaConf

    from davis_exp.config import parts
    from davis_exp.config.instantiate import plain
    from davis_exp.experiment import build, checkpoints
    from davis_exp.models import zoo

    try:
        stored = parts.referred(run.config)
        if name := stored.get("checkpoint"):  # `test` has its model from there
            from davis_exp.commands.test import composition

            checkpoint = checkpoints.read(run.find(zoo.find(name)))
            stored = plain(composition(checkpoint, stored.get("inference") or {}))
        config = OmegaConf.create(parts.check_config(stored, str(run.folder)))
        limit = (config.get("budget") or {}).get("limit")
        return build.cost(config).to_dict(), limit
    except BadInput as error:
        log.warning("no cost table: %s", error)
        return None, None
