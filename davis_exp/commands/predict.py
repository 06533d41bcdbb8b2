"""davis-exp predict: a checkpoint on any video → masks and an overlay video."""

import argparse
import contextlib
import re
from pathlib import Path

from davis_exp import exported
from davis_exp.commands.options import add_allow
from davis_exp.models import zoo
from davis_exp.utils import written
from davis_exp.utils.errors import BadInput, Incomplete


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "davis-exp predict [CHECKPOINT] INPUT -o OUT [options]"
    parser.add_argument(
        "given",
        nargs="+",
        metavar="[CHECKPOINT] INPUT",
        help="a run's checkpoints/best.ckpt or a model that ships (default: "
        f"{zoo.DEFAULT}); then a video file, picture, folder of pictures, or data set",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder for masks/<frame>.png and overlay.mp4, or a file (.mp4, .mov, .webm, .gif) for the overlay alone",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one frame in N (default: all)")
    parser.add_argument(
        "--size", metavar="HxW", help="what the model sees (default: as many pixels as in training)"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.5, metavar="P", help="foreground from here (default: 0.5)"
    )
    parser.add_argument(
        "--video-masks", action="store_true", help="call masks 00000, 00001 …, whatever the frames are called"
    )
    parser.add_argument("--soft", action="store_true", help="masks are confidences 0-255 instead of 0 or 255")
    parser.add_argument(
        "--cutout", action="store_true", help="the object on a transparent ground: cutout.webm and PNGs"
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 … (default: a GPU if there is one)"
    )
    parser.add_argument(
        "--flag",
        type=int,
        default=0,
        metavar="N",
        help="list the N frames to check by hand, those whose masks are least to be trusted",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what OUT holds")
    add_allow(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp.data.sources.film import Film
    from davis_exp.data.sources.video import open_input
    from davis_exp.experiment.prediction import Output, Predictor, clear
    from davis_exp.results.video import FORMATS
    from davis_exp.runs import confidence

    if len(args.given) > 2:
        raise BadInput(f"{' '.join(args.given)}: give a checkpoint and an input, or an input alone")
    checkpoint, given = ([zoo.DEFAULT, *args.given])[-2:]
    if zoo.is_model_file(given) or exported.is_exported(given) or given.endswith((".ckpt", ".keras")):
        raise BadInput(f"{given} is a checkpoint: give what to predict on after it, a video or a folder")
    if args.every < 1:
        raise BadInput(f"--every: must be at least 1, got {args.every}")
    if args.flag < 0:
        raise BadInput(f"--flag: give a number of frames, got {args.flag}")
    if not 0 < args.threshold < 1:
        raise BadInput(f"--threshold: must lie between 0 and 1, got {args.threshold}")
    size = _size(args.size)
    alone = args.out.suffix.lower() in FORMATS
    if alone and (args.soft or args.cutout):
        raise BadInput(f"{args.out}: --soft and --cutout write files; give a folder as -o")
    if not args.overwrite and (args.out.is_file() or (args.out.is_dir() and any(args.out.iterdir()))):
        raise BadInput(f"{args.out} is there already; choose another -o, or --overwrite")
    if args.out.is_file() and not alone:
        raise BadInput(f"{args.out} is a file: give a folder as -o, or a video's name ({', '.join(FORMATS)})")
    sequences = open_input(Path(given), args.every)
    if alone and len(sequences) > 1:
        raise BadInput(f"{given} holds {len(sequences)} sequences: give a folder as -o")
    predictor = Predictor(checkpoint, size=size, device=args.device, allow=args.allow)
    print(f"model: {checkpoint}", flush=True)
    broken: BadInput | None = None
    trusted: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        # What is in OUT is whole: it is put there when everything is done, and a killed run leaves it as it was.
        new = args.out if alone else stack.enter_context(written.atomic_folder(args.out, beside=True))
        for sequence in sequences:
            below = "" if len(sequences) == 1 else sequence.name
            output = Output(
                new / below,
                alone=alone,
                threshold=args.threshold,
                soft=args.soft,
                cutout=args.cutout,
                numbered=args.video_masks,
            )
            own: dict[str, float] = {}
            try:
                count = predictor.write(sequence, output, own)
            except BadInput as error:  # a video that breaks off: what there is of it is kept
                if alone or not any(new.rglob("*.png")):
                    raise
                broken = Incomplete(str(error))
                break
            finally:
                trusted |= {f"{sequence.name}/{name}": value for name, value in own.items()}
            print(f"{sequence.name}: {count} frames → {args.out / below}", flush=True)
            if not alone:
                clear(args.out / below)
            if isinstance(sequence, Film) and sequence.breaks_off:
                broken = Incomplete(sequence.breaks_off)
        if not alone:
            confidence.write(new, trusted)
    if args.flag:
        print("to check by hand:", *confidence.said(trusted, args.flag), sep="\n  ", flush=True)
    if broken is not None:
        raise broken
    return 0


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text.lower())
    if not sides:
        raise BadInput(f"--size: give height x width, as 480x854, got {text!r}")
    return int(sides[1]), int(sides[2])
