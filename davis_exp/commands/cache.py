"""`davis-exp data cache`: what is kept between runs, and clearing it."""

import argparse

KINDS = {
    "artifacts": "data sets from W&B",
    "decoded": "decoded frames, masks and flow (data.cache=disk)",
    "features": "features of frozen encoders",
    "flow": "optical flow",
    "speed": "how fast this machine is (davis-exp budget --measure)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clear",
        nargs="*",
        choices=list(KINDS),
        metavar="KIND",
        help=f"remove these kinds, or all of them: {', '.join(KINDS)}; not while a run may be reading them",
    )


def run(args: argparse.Namespace) -> int:
    """List what is kept, or clear it. Raises BadInput for what cannot be removed."""
    from davis_exp.data.cache import default_folder, usage

    if args.clear is not None:
        for kind in args.clear or KINDS:
            _clear(kind)
        return 0
    print(default_folder(""))
    for kind, about in KINDS.items():
        print(f"  {kind:9}  {_shown(*usage(default_folder(kind))):>24}  {about}")
    return 0


def _clear(kind: str) -> None:
    from davis_exp.data.cache import clear, default_folder, usage

    folder = default_folder(kind)
    kept = usage(folder)
    clear(folder)
    print(f"{folder}: removed {_shown(*kept)}")


def _shown(files: int, size: int) -> str:
    return f"{files:,} file{'s' * (files != 1)}, {size / 1e9:,.2f} GB"
