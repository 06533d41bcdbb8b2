"""Options that several sub-commands share."""

import argparse
from pathlib import Path

MASKS = ("auto", "ids", "binary", "alpha")  # as in data/masks.py, which takes a while to import


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The `--workers` of all that read many files."""
    parser.add_argument("--workers", type=_positive, default=2, metavar="N", help="threads (default: 2)")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def add_truth(parser: argparse.ArgumentParser) -> None:
    """The `--truth` of all that draw on frames; `truth.source` finds it."""
    parser.add_argument(
        "--truth", type=Path, metavar="DATA", help="labelled data set (default: the one in the run's config)"
    )


def add_masks(parser: argparse.ArgumentParser) -> None:
    """The `--masks` and `--void` of all that read a data set's masks."""
    parser.add_argument(
        "--masks",
        choices=MASKS,
        default="auto",
        help="what marks the object in the data set's masks (default: auto, by the kind of file)",
    )
    parser.add_argument(
        "--void",
        type=_void,
        default=255,
        metavar="N",
        help="the number of pixels that are not judged, in masks of numbers, or none (default: 255)",
    )


def _void(text: str) -> int | None:
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 65535, and not none")
    return int(text)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """The `--overwrite` of all that write a page; `pages.files.refuse_other` asks for it."""
    parser.add_argument("--overwrite", action="store_true", help="replace PAGE even if it is no such page")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """The `--limit` of all that look at submissions."""
    parser.add_argument(
        "--limit",
        type=_limit,
        default=50_000_000,
        metavar="N",
        help="most parameters allowed, or none (default: the contest's 50000000)",
    )


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of parameters, and not none") from None


def add_allow(parser: argparse.ArgumentParser) -> None:
    """The `--allow` of all that use a checkpoint."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CLASS",
        help="a class of your own that CHECKPOINT may name, as my_package.MyEncoder (may be repeated)",
    )
