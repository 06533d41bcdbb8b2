"""conf/local.yaml: what is this machine's own (where data lie, caches, an account), so that nobody types it each time.

    data:
      davis: {root: /data/DAVIS}
      "*": {cache: disk}      # of every option that has such a key
    logger:
      wandb: {entity: my-team}

It is looked for in the working directory's conf/, then in a checkout's own. What it says of an option stands before that
option's own values and an experiment's, and behind the command line. It may hold only what no digest counts, so that
what a run computes is the same everywhere.
"""

import difflib
import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from davis_exp import config
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, choices, quoted

GROUPS = ("data", "logger", "trainer")  # as the defaults lists have them: local/<group>
EVERY = "*"
ALLOWED = (*config.NOT_IN_DIGEST, "data.test_root")  # this is a place too, though digests count it
Keys = dict[str, Any]


def find() -> Path | None:
    """The file, where there is one."""
    places = [Path("conf") / "local.yaml"]
    if (config.conf_dir().parent / "pyproject.toml").is_file():  # a wheel's is whoever's built it
        places.append(config.conf_dir() / "local.yaml")
    return next((place for place in places if place.is_file()), None)


def read(file: Path) -> dict[str, dict[str, Keys]]:
    """Group → option → what it gets. Raises BadInput for what cannot stand in such a file."""
    content = given.read_yaml(file)
    if content is None:
        return {}
    name = given.shown(file)
    shape = (
        f"{name}: write groups, their options and keys of these, as data: {{davis: {{root: /data/DAVIS}}}}"
    )
    if not isinstance(content, dict):
        raise BadInput(shape)
    found: dict[str, dict[str, Keys]] = {}
    for group, options in content.items():
        if group not in GROUPS:
            raise BadInput(f"{name}: {quoted(group)} is none of its groups{choices(group, GROUPS)}")
        if not isinstance(options, dict) or not all(isinstance(keys, dict) for keys in options.values()):
            raise BadInput(shape)
        known = sorted(path.stem for path in (config.conf_dir() / group).glob("[!_]*.yaml"))
        own = {option: config.option(group, option) for option in known}
        made: dict[str, Keys] = {}
        for option, keys in options.items():
            where = f"{name}: {group}.{option}"
            if option not in (*own, EVERY) and difflib.get_close_matches(option, known, n=1):
                raise BadInput(f"{where}: no such option{choices(option, known)}")
            for key in keys if option in own else ():
                if key not in own[option]:
                    raise BadInput(f"{where}: it has no {quoted(key)}{choices(key, own[option])}")
            _check(keys, group, where)
            if option != EVERY:
                made[option] = keys
        for key, value in (options.get(EVERY) or {}).items():
            able = [option for option in known if key in own[option]]
            if not able:
                raise BadInput(f"{name}: {group}.{EVERY}: no option has a key {quoted(key)}")
            for option in able:
                made.setdefault(option, {}).setdefault(key, value)
        found[group] = made
    return found


def register() -> None:
    """Have Hydra find what the file says, as optional options `local/<group>`. Raises BadInput as `read`."""
    store = ConfigStore.instance()
    store.repo.pop("local", None)
    file = find()
    for group, options in (read(file) if file else {}).items():
        for option, keys in options.items():
            store.store(option, keys, f"local/{group}", group, given.shown(file or ""))


def told(cfg: Any, chosen: Mapping[str, Any]) -> list[str]:
    """What of a composed config comes from the file, as "data.root=/data/DAVIS".

    Args:
        chosen: the option of each group, as Hydra's `runtime.choices` has them.
    """
    file = find()
    made = []
    for group, options in (read(file) if file else {}).items():
        keys = options.get(str(chosen.get(f"local/{group}@{group}")), {})
        for key, value in _leaves(keys, group):
            if (
                OmegaConf.select(cfg, key, throw_on_missing=False) == value
            ):  # else the command line has said more
                made.append(f"{key}={value}")
    return made


def _check(keys: Keys, group: str, where: str) -> None:
    for key, value in _leaves(keys, group):
        if any(part.startswith("_") for part in key.split(".")):
            raise BadInput(f"{where}: {quoted(key)} says what is made of it: not in this file")
        if not any(fnmatch.fnmatchcase(name, p) for name in (group, key) for p in ALLOWED):
            raise BadInput(
                f"{where}: {quoted(key)} changes what a run computes: give it on the command line or in an experiment"
            )
        if isinstance(value, str) and "${" in value:
            raise BadInput(f"{where}: {quoted(key)}: write the value out, without ${{")


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else name)
    else:
        yield key, node
