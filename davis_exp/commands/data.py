"""`davis-exp data`: generate, download, export and check data sets, and clear what is kept of them."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from davis_exp.commands import cache
from davis_exp.commands.options import add_masks, add_workers
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from davis_exp.data.download import Report
    from davis_exp.data.sequences import VideoSequence

STAGES = {"train": "train", "test": "val"}  # a stage's name in DAVIS layout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  davis-exp data generate data/generated --distractors 2\n"
        "  davis-exp data download davis2016 data/DAVIS\n"
        "  davis-exp data export data/DAVIS data/contest --to contest\n"
        "  davis-exp data check data/DAVIS\n"
        "  davis-exp data cache --clear flow"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    generate = actions.add_parser(
        "generate",
        help="write videos of a moving object, made from nothing, in DAVIS layout",
        epilog="example: davis-exp data generate data/generated --distractors 2 --size 240x432",
    )
    generate.add_argument("out", metavar="OUT", help="new folder")
    generate.add_argument(
        "--train", type=int, default=24, metavar="N", help="training sequences (%(default)s)"
    )
    generate.add_argument("--test", type=int, default=6, metavar="N", help="test sequences (%(default)s)")
    generate.add_argument(
        "--distractors", type=int, default=0, metavar="K", help="resting look-alikes, 0 to 3 (%(default)s)"
    )
    generate.add_argument("--size", type=_size, default=(96, 160), metavar="HxW", help="of a frame (96x160)")
    generate.add_argument(
        "--length", type=int, default=24, metavar="T", help="frames a sequence (%(default)s)"
    )
    generate.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other videos")

    fetch = actions.add_parser(
        "download",
        help="get a published data set; continues where it was interrupted",
        epilog="example: davis-exp data download davis2016 data/DAVIS",
    )
    fetch.add_argument("dataset", choices=["davis2016"], help="which")
    fetch.add_argument("out", metavar="OUT", help="new folder")
    fetch.add_argument("--sha256", metavar="HEX", help="checksum that the archive must have")
    fetch.add_argument("--url", help="another place to get the archive from (a zip)")

    export = actions.add_parser(
        "export",
        help="copy a data set into the other layout",
        epilog="example: davis-exp data export data/DAVIS data/contest --to contest",
    )
    export.add_argument("src", metavar="SRC", help="data set, as its folder or <layout>:<folder>")
    export.add_argument("out", metavar="OUT", help="new folder; for the contest it gets one folder per stage")
    export.add_argument("--to", choices=["contest", "davis"], required=True, help="layout to write")
    export.add_argument(
        "--stages", nargs="+", choices=list(STAGES), default=list(STAGES), help="which stages (both)"
    )

    add_masks(export)

    check = actions.add_parser(
        "check",
        help="is a data set in order? every defect, one line each; exit code 2 if there is one",
        epilog="example: davis-exp data check data/DAVIS",
    )
    check.add_argument("root", metavar="ROOT", help="data set, as its folder or <layout>:<folder>")
    check.add_argument(
        "--fix", action="store_true", help="rewrite masks of another mode or 0/1 as 8-bit grey of 0 and 255"
    )
    add_masks(check)
    add_workers(check)

    kept = actions.add_parser(
        "cache",
        help="what is kept between runs, and how much of it; --clear removes it",
        epilog="example: davis-exp data cache --clear flow",
    )
    cache.add_arguments(kept)


def run(args: argparse.Namespace) -> int:
    """Do what `args.action` says. Raises BadInput."""
    actions = {
        "generate": _generate,
        "download": _download,
        "export": _export,
        "check": _check,
        "cache": cache.run,
    }
    return actions[args.action](args)


def _generate(args: argparse.Namespace) -> int:
    from davis_exp.data.export import write_davis
    from davis_exp.data.sources.generated import GeneratedSource

    height, width = args.size
    source = GeneratedSource(
        args.train, args.test, args.length, height, width, distractors=args.distractors, seed=args.seed
    )
    splits = {name: source.sequences(stage) for stage, name in STAGES.items()}
    write_davis(splits, args.out, resolution=f"{height}p", progress=_track)
    _say_trainable(args.out)
    return 0


def _download(args: argparse.Namespace) -> int:
    from davis_exp.data.download import ARCHIVES, download

    with _download_report() as report:
        download(args.url or ARCHIVES[args.dataset], args.out, sha256=args.sha256, report=report)
    _say_trainable(args.out)
    return 0


def _export(args: argparse.Namespace) -> int:
    from davis_exp.data.export import new_folder, write_contest, write_davis
    from davis_exp.data.sources import open_source

    source = open_source(args.src, args.masks, args.void)
    stages = {stage: source.sequences(stage) for stage in dict.fromkeys(args.stages)}
    if args.to == "davis":
        write_davis({STAGES[stage]: found for stage, found in stages.items()}, args.out, progress=_track)
    else:
        with new_folder(Path(args.out)) as new:
            for stage, found in stages.items():
                write_contest(found, new / stage, progress=_track)
    print(f"{args.out}: {', '.join(f'{stage} {sum(map(len, s))} frames' for stage, s in stages.items())}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from itertools import chain

    from davis_exp.data.check import contents, rewrite, survey
    from davis_exp.data.masks import MaskReader
    from davis_exp.utils.progress import progress_bar

    found, reader = survey(args.root, args.masks, args.void), MaskReader(args.masks, args.void)
    defects = notes = 0
    with progress_bar("checking") as progress:
        for finding in chain(
            found.findings, contents(found, workers=args.workers, progress=progress, reader=reader)
        ):
            line = f"{finding}{' (--fix does it)' if finding.mask else ''}"
            if args.fix and finding.mask:
                try:
                    rewrite(finding.mask, reader)
                except BadInput as error:
                    line = str(error)
                else:
                    print(f"fixed: {finding.what}: rewritten as 8-bit grey of 0 and 255")
                    continue
            print(line)
            notes += finding.note
            defects += not finding.note
    frames, masks = (sum(pair[i] is not None for clip in found.clips for pair in clip.pairs) for i in (0, 1))
    print(
        f"{args.root}: {_counted(len(found.clips), 'sequence')}, {_counted(frames, 'frame')}, "
        f"{_counted(masks, 'mask')}: {_counted(defects, 'defect')}, {_counted(notes, 'note')}"
    )
    return BadInput.exit_code if defects else 0


def _say_trainable(out: str) -> None:
    from davis_exp.launch.quoting import pasted

    print(f"{out}: train with `davis-exp train data=davis {pasted('data.root', out)}`")


def _counted(number: int, name: str) -> str:
    return f"{number:,} {name}{'s' * (number != 1)}"


def _size(text: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 96x160")
    return int(numbers[1]), int(numbers[2])


def _track(sequences: "list[VideoSequence]") -> "Iterator[VideoSequence]":
    """Yield each, showing how far it is: a bar on a terminal, elsewhere a line at each tenth."""
    from rich.progress import track

    console = _console()
    if console.is_terminal:
        yield from track(sequences, description="sequences", console=console)
        return
    for done, sequence in enumerate(sequences, start=1):
        yield sequence
        if done * 10 // len(sequences) > (done - 1) * 10 // len(sequences):
            console.print(f"{done} of {len(sequences)} sequences")


@contextmanager
def _download_report() -> "Iterator[Report]":
    """What to call with the bytes done and in all: a bar on a terminal, elsewhere lines of text."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = _console()
    if console.is_terminal:
        columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("download", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    said = -1

    def report(done: int, total: int | None) -> None:
        nonlocal said
        step = done * 20 // total if total else done // 100_000_000
        if step > said:
            said = step
            console.print(f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB")

    yield report


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False)
