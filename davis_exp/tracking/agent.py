"""Inside a W&B agent: what it writes on the command line → overrides that mean what the sweep file says.

An agent calls `davis-exp train logger=wandb ${args_no_hyphens}`, each argument being "<key>=<str(value)>" of Python;
what the values were is in the file that WANDB_SWEEP_PARAM_PATH names.
"""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

log = logging.getLogger(__name__)

OURS = ("cfg", "davis_exp")  # keys of a run's config that this program has put there
PLAIN = re.compile(r"[A-Za-z_][\w./-]*")  # text that Hydra reads as it is
WORDS = ("null", "true", "false", "nan", "inf")  # but these


def inside() -> bool:
    """Whether an agent has started this process."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def overrides(arguments: Sequence[str]) -> list[str]:
    """A command line that an agent has written, for Hydra.

    Values keep their type (None, booleans, numbers, lists, text with a comma or an equals sign). Of the whole config
    that a preempted run is handed again, what W&B or this program has put there is left out; every other key is for
    Hydra to accept or refuse.

    Raises BadInput for nested parameters and for a sweep inside the sweep.
    """
    values = _values()
    translated = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        _refuse_reach(argument, key)
        if argument in ("-m", "--multirun"):
            raise BadInput(
                f"{argument}: an agent runs one job at a time; the sweep file says what to sweep over"
            )
        if key == "sweep" and text != "null":
            raise BadInput(f"{argument}: implies -m, but an agent runs one job at a time; leave it out")
        if equals and _is_ours(key) and key in values:
            continue
        if key in values and text == str(values[key]):
            argument = f"{key}={written(values[key], key)}"
        translated.append(argument)
    return translated


def say_dropped() -> None:
    """A line in the log about what `overrides` has left out, if anything."""
    dropped = sorted(key for key in _values() if _is_ours(key))
    if dropped:
        log.info("W&B agent: left out of what the run was given again: %s", ", ".join(dropped))


def written(value: Any, key: str) -> str:
    """`value` as Hydra's grammar writes it. Raises BadInput for a dictionary: nested parameters."""
    if isinstance(value, dict):
        dotted = ", ".join(f"{key}.{name}" for name in value)
        raise BadInput(
            f"{key}: nested parameters would replace the whole of {key}; use dotted keys: {dotted}"
        )
    if isinstance(value, list | tuple):
        return f"[{','.join(written(item, key) for item in value)}]"
    if value is None or value == "None":
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    # A backslash escapes only before a quote, or before those at the end.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


def _refuse_reach(argument: str, key: str) -> None:
    """A sweep's parameters come from a server: they set the experiment's keys, not where it is kept or what it imports."""
    reaches = any(part.lstrip("+~").split(".")[0].split("/")[0] == "hydra" for part in key.split("@"))
    if reaches or "_target_" in argument:
        raise BadInput(
            f"{argument}: a sweep's parameters may set neither hydra.* nor a _target_; choose options of groups, or "
            "write it into a config of your own"
        )


def _is_ours(key: str) -> bool:
    return key.startswith("_wandb") or any(key == own or key.startswith(f"{own}.") for own in OURS)


def _values() -> dict[str, Any]:
    """What the agent has given this run; empty where it has left no file. Raises BadInput for one that is no YAML."""
    path = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not path or not Path(path).exists():
        return {}
    content = given.read_yaml(Path(path))
    if not isinstance(content, dict):
        return {}
    return {k: v["value"] for k, v in content.items() if isinstance(v, dict) and "value" in v}
