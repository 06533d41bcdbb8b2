"""davis-exp export: a checkpoint → one small file to hand on."""

import argparse
from pathlib import Path
from typing import Any

from yaml import YAMLError

from davis_exp.commands.options import add_allow
from davis_exp.utils.errors import BadInput, brief, quoted

FORMATS = {
    ".safetensors": "weights in half precision",
    ".onnx": "ONNX",
    ".xml": "OpenVINO",
    ".pt2": "PyTorch's program",
    ".keras": "of model=keras",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's checkpoints/best.ckpt")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="inference.KEY=VALUE",
        help="how it is run from now on, as 'inference.size=[288,480]' inference.flip=true (default: as trained)",
    )
    kinds = ", ".join(f"{suffix} ({kind})" for suffix, kind in FORMATS.items())
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=f"ends in {kinds}")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        help="of .onnx and .xml (default: fp32): fp16 keeps weights in half; int8 takes ranges from --data's train frames",
    )
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="labelled data set, to hold the file against the checkpoint on its test frames",
    )
    parser.add_argument(
        "--frames", type=_frames, default=120, metavar="N", help="so many of them (default: 120; 0: do not)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    add_allow(parser)


def _frames(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from davis_exp.experiment import checkpoints
    from davis_exp.inference.settings import check_motion
    from davis_exp.models import zoo

    if args.out.suffix not in FORMATS:
        raise BadInput(f"-o {args.out}: its name must end in {', '.join(FORMATS)}")
    if args.out.suffix not in (".onnx", ".xml") and args.precision is not None:
        raise BadInput(f"--precision: is for .onnx and .xml; {args.out} has its own")
    if args.precision == "int8" and args.data is None:
        raise BadInput("--precision int8: give a data set as --data, whose train frames decide the ranges")
    if args.out.exists() and not args.overwrite:
        raise BadInput(f"{args.out} is there already; choose another -o, or --overwrite")
    checkpoint = checkpoints.read(args.checkpoint, args.allow)
    model = checkpoints.restore(checkpoint)  # weights that do not fit are found here
    if args.out.suffix == checkpoints.KERAS:
        return _as_keras(model, args.out)
    config = _with_settings(checkpoint["config"], args.settings)
    check_motion(config["inference"], bool(model.needs_motion))
    about = {"config": _without_folders(config), "clips": checkpoint.get("clips", {})}
    if args.out.suffix == zoo.SUFFIX:
        if "exported" in checkpoint:
            raise BadInput(
                f"{args.checkpoint} holds a graph and no weights; give the checkpoint it came from"
            )
        zoo.write(args.out, dict(model.state_dict()), about)
        print(f"{args.out}: {_mb(args.out)}, half precision")
        return 0
    return _to_engine(args, {**checkpoint, **about})


def _to_engine(args: argparse.Namespace, checkpoint: dict[str, Any]) -> int:
    from davis_exp import exported
    from davis_exp.data.sources import open_source
    from davis_exp.data.sources.generated import GeneratedSource
    from davis_exp.experiment import checkpoints
    from davis_exp.experiment.exporting import Exporter

    if args.out.suffix == ".xml":
        exported.package("openvino")
    precision = args.precision or "fp32"
    source = open_source(args.data) if args.data else GeneratedSource(train=1, test=2)
    train = source.sequences("train") if precision == "int8" else []
    test = source.sequences("test") if args.frames else []
    digest = checkpoints.digest(checkpoints.find(args.checkpoint))
    exporter = Exporter(checkpoint, {"checkpoint_digest": digest})
    exporter.write(args.out, precision, train)
    print(f"{args.out}: {_mb(args.out)}, {FORMATS[args.out.suffix]}, {precision}", flush=True)
    if not test or args.out.suffix == exported.PROGRAM:
        return 0
    found = exporter.compare(checkpoints.restore(checkpoints.read(args.out, args.allow)), test, args.frames)
    of = args.data or "a generated clip"
    print(
        f"against the checkpoint on {found.frames} frames of {of}: probabilities differ by {found.probability:.2g} at most"
    )
    if found.scores and args.data:
        before, after = found.scores
        print(f"contest score of these frames: {before:.4f} → {after:.4f} ({after - before:+.4f})")
    return 0


def _mb(path: Path) -> str:
    files = [file for file in (path, path.with_suffix(".bin")) if file == path or path.suffix == ".xml"]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB"


def _as_keras(model: Any, out: Path) -> int:
    if not hasattr(model, "save"):
        raise BadInput(
            f"-o {out}: only a model of Keras', model=keras, can be one; give a name in .safetensors"
        )
    try:
        model.save(out)
    except ValueError as error:
        raise BadInput(f"-o {out}: {error}") from error
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; frames are seen at their own size (or inference.size=…)"
    )
    return 0


def _with_settings(config: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The config with its `inference` changed. Raises BadInput for anything else, and for what inference cannot be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from davis_exp.config.parts import INFERENCE
    from davis_exp.experiment import build

    how = dict(config["inference"])
    for setting in settings:
        key, equals, _ = setting.removeprefix("inference.").partition("=")
        if not (equals and setting.startswith("inference.") and key in INFERENCE):
            known = ", ".join(f"inference.{key}" for key in INFERENCE)
            raise BadInput(f"{quoted(setting)}: only {known} can be set (KEY=VALUE)")
        try:
            parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([setting]), resolve=True)
            how[key] = parsed["inference"][key]
        except (YAMLError, OmegaConfBaseException) as error:
            raise BadInput(f"{quoted(setting)}: not a value ({brief(error)})") from error
    changed = {**config, "inference": how}
    build.inference(changed)
    return changed


def _without_folders(node: Any) -> Any:
    """A config in which paths lead nowhere: where data lay on one machine is nobody else's affair."""
    if isinstance(node, dict):
        return {key: _without_folders(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_folders(item) for item in node]
    elsewhere = isinstance(node, str) and (Path(node).is_absolute() or node.startswith(("~", "..")))
    return Path(node).name if elsewhere else node
