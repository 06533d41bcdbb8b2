"""davis-exp board: all runs and sweeps on one page, while they run."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from davis_exp.commands.options import add_overwrite
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    from davis_exp.data.sequences import Source
    from davis_exp.results.board.entry import Entry, Runs
    from davis_exp.results.board.pictures import Pictures
    from davis_exp.results.pages.subject import Run

PORT = 8765
DEFAULT_FOLDERS = ("runs", "multirun")  # where train keeps runs and sweeps
GROUPS = 20  # sweeps whose settings are looked at ahead, for a page that stands alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="folders with runs somewhere below (default: runs and multirun, where they are)",
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="PAGE", help="write the page as a file, instead of serving it"
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=PORT,
        metavar="N",
        help=f"of 127.0.0.1, where the page is served (default: {PORT}; 0: any that is free)",
    )
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp.launch import status
    from davis_exp.results.board.entry import Runs
    from davis_exp.results.board.pictures import Pictures
    from davis_exp.results.pages.files import refuse_other

    folders = args.folders or [Path(name) for name in DEFAULT_FOLDERS if Path(name).is_dir()]
    if not folders:
        raise BadInput(
            f"there is no folder {' or '.join(DEFAULT_FOLDERS)} here: give a FOLDER with runs below"
        )
    for folder in folders:
        if not folder.is_dir():
            raise BadInput(f"there is no folder {folder}")
    runs, pictures = Runs(folders, status.current), Pictures(_source)
    said = f"All runs and sweeps in {', '.join(map(str, folders))}."
    if args.out is None:
        return _serve(runs, pictures, said, args.port)
    refuse_other(args.out, "-o", overwrite=args.overwrite)
    return _write(runs, pictures, said, args.out)


def _write(runs: "Runs", pictures: "Pictures", said: str, out: Path) -> int:
    from davis_exp.results.board.content import content, worth
    from davis_exp.results.board.pictures import SIZE, embedded
    from davis_exp.results.output import write_text
    from davis_exp.results.pages.board import board
    from davis_exp.utils.progress import progress_bar

    entries: list[Entry] = []
    with progress_bar("runs") as progress:
        for entries in runs.look():
            if progress:
                progress(len(entries), len(entries) + runs.waiting)
    if not entries:
        raise BadInput(f"no run in or below {', '.join(map(str, runs.roots))}")
    place = out.resolve().parent
    made = content(
        entries, lambda entry: quote(os.path.relpath(entry.folder.resolve(), place) + "/report.html")
    )
    groups = list(dict.fromkeys(entry.group for entry in entries))
    made["importance"] = {group: worth(entries, group) for group in ["", *groups[:GROUPS]]}
    with progress_bar("pictures") as progress:
        made["stills"], size = embedded(entries, made["clips"], pictures, progress)
    said += f" {len(made['stills'])} pictures of frames are in this file ({size / 1e6:.1f} of at most {SIZE / 1e6:g} MB)."
    text = board(made, said)
    write_text(out, text)
    print(f"{out}: {len(entries)} runs, {len(text.encode()) / 1e6:.1f} MB", flush=True)
    return 0


def _serve(runs: "Runs", pictures: "Pictures", said: str, port: int) -> int:
    from davis_exp.results.board.server import HOST, Live, Server
    from davis_exp.utils import interrupts

    live = Live(runs, pictures, said)
    try:
        server = Server(live, port)
    except OSError as error:
        raise BadInput(
            f"--port {port}: {error.strerror}; give another, or --port 0 for any that is free"
        ) from error
    with server, interrupts.heard():
        try:
            live.look()
            print(f"http://{HOST}:{server.server_port}/  (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print("closed", flush=True)
    return 0


def _source(run: "Run", folder: Path) -> "Source":
    from davis_exp.commands.truth import source

    return source(None, run, folder)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)
