"""Hydra as the command line sets it up, for what goes on without `hydra.main`: a search, combinations without jobs."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose as compose_by_hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from davis_exp import config
from davis_exp.launch import local, runs
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput


@contextlib.contextmanager
def main(name: str, args: argparse.Namespace) -> Iterator[tuple[Hydra, list[str]]]:
    """Hydra as the command line sets it up, and the overrides that do: it knows the user's own folders of options."""
    paths = [o for o in args.overrides if runs.key(o) == "hydra.searchpath"]
    try:
        yield Hydra.create_main_hydra2(name, _search_path(args, paths)), paths
    finally:
        GlobalHydra.instance().clear()


def _search_path(args: argparse.Namespace, paths: Sequence[str]) -> ConfigSearchPath:
    """Where the command's configs are, the user's own folders first: `paths` are overrides of hydra.searchpath."""
    given = [override.value() for override in OverridesParser.create().parse_overrides(list(paths))]
    own = [str(folder) for folders in given if isinstance(folders, list) for folder in folders]
    if args.config_dir is not None:
        if not Path(args.config_dir).is_dir():
            raise BadInput(f"--config-dir: there is no folder {args.config_dir}")
        own.append(f"file://{Path(args.config_dir).resolve()}")
    search_path = create_config_search_path(str(config.conf_dir()))
    for folder in own:  # Hydra itself would look for glob(*) in --config-dir only
        search_path.prepend("hydra.searchpath", folder, SearchPathQuery(provider="schema"))
    return search_path


def say_local(args: argparse.Namespace, name: str) -> None:
    """What of the config that is shown comes from conf/local.yaml, as a comment above it."""
    file = local.find()
    if file is None:
        return
    with main(name, args):
        cfg = compose_by_hydra(args.config_name or name, args.overrides, return_hydra_config=True)
    found = local.told(cfg, cfg.hydra.runtime.choices)
    print(f"# from {given.shown(file)}: {', '.join(found) or 'nothing'}", flush=True)
