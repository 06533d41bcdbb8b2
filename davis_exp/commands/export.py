"""davis-exp export: a checkpoint → one small file to hand on."""

import argparse
from pathlib import Path
from typing import Any

from yaml import YAMLError

from davis_exp.commands.options import add_allow
from davis_exp.utils.errors import BadInput, brief, quoted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's checkpoints/best.ckpt")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="inference.KEY=VALUE",
        help="how it is run from now on, as 'inference.size=[288,480]' inference.flip=true (default: as trained)",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="ends in .safetensors")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    add_allow(parser)


def run(args: argparse.Namespace) -> int:
    from davis_exp import zoo
    from davis_exp.experiment import checkpoints

    if args.out.suffix not in (zoo.SUFFIX, checkpoints.KERAS):
        raise BadInput(
            f"-o {args.out}: its name must end in {zoo.SUFFIX} (or {checkpoints.KERAS}, of model=keras)"
        )
    if args.out.exists() and not args.overwrite:
        raise BadInput(f"{args.out} is there already; choose another -o, or --overwrite")
    checkpoint = checkpoints.read(args.checkpoint, args.allow)
    model = checkpoints.restore(checkpoint)  # weights that do not fit are found here
    if args.out.suffix == checkpoints.KERAS:
        return _as_keras(model, args.out)
    config = _with_settings(checkpoint["config"], args.settings)
    if config["inference"].get("select_motion") and not model.needs_motion:
        raise BadInput("inference.select_motion: this model takes no motion pictures; leave it out")
    about = {"config": _without_folders(config), "clips": checkpoint.get("clips", {})}
    zoo.write(args.out, dict(model.state_dict()), about)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, half precision")
    return 0


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

    from davis_exp.experiment import build

    how = dict(config["inference"])
    for setting in settings:
        key, equals, _ = setting.removeprefix("inference.").partition("=")
        if not (equals and setting.startswith("inference.") and key in how):
            known = ", ".join(f"inference.{key}" for key in how)
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
