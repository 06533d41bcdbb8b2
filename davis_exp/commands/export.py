"""davis-exp export: a checkpoint → one small file to hand on."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from davis_exp.errors import BadInput, brief, quoted


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


def run(args: argparse.Namespace) -> int:
    from davis_exp import checkpoints, zoo

    if args.out.suffix != zoo.SUFFIX:
        raise BadInput(f"-o {args.out}: its name must end in {zoo.SUFFIX}")
    if args.out.exists() and not args.overwrite:
        raise BadInput(f"{args.out} is there already; choose another -o, or --overwrite")
    checkpoint = checkpoints.read(args.checkpoint)
    model = checkpoints.restore(checkpoint)  # weights that do not fit are found here
    config = _with_settings(checkpoint["config"], args.settings)
    about = {"config": _without_folders(config), "clips": checkpoint.get("clips", {})}
    zoo.write(args.out, dict(model.state_dict()), about)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, half precision")
    return 0


def _with_settings(config: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The config with its `inference` changed. Raises BadInput for anything else, and for what inference cannot be."""
    from omegaconf import OmegaConf

    from davis_exp import build

    cfg = OmegaConf.create(config)
    known = [f"inference.{key}" for key in cfg.inference]
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in known:
            raise BadInput(f"{quoted(setting)}: only {', '.join(known)} can be set (KEY=VALUE)")
        try:
            OmegaConf.update(cfg, key, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise BadInput(f"{quoted(setting)}: not a value ({brief(error)})") from error
    build.inference(cfg)
    return build.plain(cfg)


def _without_folders(node: Any) -> Any:
    """A config in which paths lead nowhere: where data lay on one machine is nobody else's affair."""
    if isinstance(node, dict):
        return {key: _without_folders(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_folders(item) for item in node]
    elsewhere = isinstance(node, str) and (Path(node).is_absolute() or node.startswith(("~", "..")))
    return Path(node).name if elsewhere else node
