"""davis-exp submit: results to W&B, as the contest asks."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from davis_exp.commands.options import add_limit, add_workers

if TYPE_CHECKING:
    from davis_exp.data.sequences import VideoSequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder or zip, or a run's folder"
    )
    parser.add_argument(
        "--phase",
        choices=("validation", "test"),
        default="validation",
        help="validation is scored here, against --data; test is handed in unseen (default: validation)",
    )
    parser.add_argument(
        "--data",
        metavar="TRUTH",
        help="the data set, as a folder or a W&B artifact (entity/project/name:alias); validation of a run's "
        "results goes by the run's own unless given",
    )
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "davis_exp"), metavar="NAME")
    parser.add_argument(
        "--entity", default=os.environ.get("WANDB_ENTITY"), metavar="NAME", help="default: the key's"
    )
    parser.add_argument(
        "--alias", action="append", default=[], metavar="NAME", help="of the artifacts (repeatable)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check and score, show what would be sent, send nothing"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="for each part to arrive (default: 600)",
    )
    add_limit(parser)
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp.metrics.measures import JUDGED
    from davis_exp.results.table import score_table
    from davis_exp.tracking import submission
    from davis_exp.utils.errors import BadInput, brief
    from davis_exp.utils.progress import progress_bar

    sequences = _sequences(args)
    with progress_bar("checking") as progress:
        ready = submission.prepare(
            args.results, args.phase, sequences, limit=args.limit, workers=args.workers, progress=progress
        )
    if ready.scored:
        print(score_table(ready.scored, JUDGED.protocols))
    target = submission.Target(args.project, args.entity, args.alias, args.patience)
    if args.dry_run:
        print("\n".join(submission.plan(ready, target)))
        return 0
    if submission.client.mode() == "online":  # else it is refused
        print(f"handing in; the server has {args.patience:g} s for each part (--patience)", flush=True)
    try:
        path = submission.send(ready, target)
    except BadInput:
        raise
    except Exception as error:  # the client's own kinds, and what the network raises
        print(
            f"davis-exp: not handed in: {brief(error)}; nothing is lost: run the same command again",
            file=sys.stderr,
        )
        return 1
    print(f"handed in; the contest's form asks for this run: {path}")
    return 0


def _sequences(args: argparse.Namespace) -> "list[VideoSequence] | None":
    """The clips of --data; without it, those that the validation phase's results are of, where a run says so."""
    from davis_exp.commands.truth import source
    from davis_exp.data.artifact import fetch, looks_like_one
    from davis_exp.data.cache import default_folder
    from davis_exp.data.sources import open_source
    from davis_exp.results.pages.subject import Run
    from davis_exp.utils.errors import BadInput

    if args.data:
        artifact = looks_like_one(args.data)
        truth = fetch(args.data, default_folder("artifacts")) if artifact else args.data
        return open_source(truth).sequences("test")
    run = Run.of(args.results) if args.phase == "validation" else None
    if run is None or not run.config.get("data"):
        return None
    if (split := run.config["data"].get("test_split") or "test") != "test":
        raise BadInput(
            f"{args.results}: these are not of the test clips (data.test_split={split}): "
            "davis-exp test the checkpoint on the validation data first, or name what they are of by --data"
        )
    try:
        found = source(None, run, args.results).sequences("test")
        if unlabelled := [sequence.name for sequence in found if not sequence.labelled]:
            raise BadInput(f"{unlabelled[0]} has no masks")
    except BadInput as error:
        raise BadInput(
            f"the run's own data will not do ({error}): give the labelled data set by --data"
        ) from error
    print(f"scored on the run's own data ({run.folder}); --data names another")
    return found
