"""The only place that instantiates: a config node → the object it names, or one line that says why not."""

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

import hydra.errors
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from davis_exp import config
from davis_exp.utils.arguments import begins_with_argument, located
from davis_exp.utils.errors import BadInput

logging.getLogger("hydra.utils").disabled = True  # it prints what `locate` raises

PYDANTIC = r"\d+ validation errors? for \S+|\[type=.*|For further information visit \S+"  # no news
LEVELS = {"temporal": ("inputs",), "decoder": ("inputs",), "fusion": ("appearance", "motion")}
"""The levels that the program tells a part, by its name; a config may not set them."""


def plain(cfg: Any) -> Any:
    """A config, or a node of one, resolved to plain containers."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def make(node: Any, key: str) -> Any:
    """Instantiates the config node at `key`; whatever it refuses becomes BadInput.

    Every `_target_` below the node is checked against its signature first, so that a wrong key is named as the
    user wrote it and nothing half-built is left.
    """
    node = plain(node)
    if not isinstance(node, dict) or "_target_" not in node:
        raise BadInput(f"{key}: names no class; give it a `_target_`")
    check_node(node, key)
    try:
        return instantiate(node, _convert_="all")
    except hydra.errors.InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, BadInput):
            raise cause from None
        known = (TypeError, ValueError, KeyError, RuntimeError, ImportError, OSError, AssertionError)
        if isinstance(cause, known) or type(cause).__module__ != "builtins":  # a library's own kind
            reason = " ".join(re.sub(PYDANTIC, "", str(cause)).split()) or type(cause).__name__
            for name in _part_refused(error):  # of a node with nodes below it
                key, node = f"{key}.{name}", node[int(name) if isinstance(node, list) else name]
            raise _refusal(reason, cause, node["_target_"], key) from cause
        raise


def _refusal(reason: str, cause: BaseException, target: str, key: str) -> BadInput:
    """What the part at `key` said, as the user's line: our own parts say what must be, libraries often do not."""
    called = locate(target, key)
    plain = isinstance(cause, ValueError) and target.startswith("davis_exp.")
    if plain or (isinstance(cause, ValueError) and begins_with_argument(reason, called)):
        return BadInput(located(key, reason, called))
    return BadInput(f"{key}: {target} refuses these settings: {reason}")


def _part_refused(error: Exception) -> list[str]:
    """Where below the node instantiated the refusing one is, as Hydra says at the end of its message."""
    found = re.search(r"\nfull_key: (\S+)$", str(error))
    return re.findall(r"[^.\[\]]+", found[1]) if found else []


def check_node(node: Any, key: str) -> None:
    """Checks the call that the node at `key`, and every one below it, would make. Raises BadInput."""
    if isinstance(node, list):
        for i, item in enumerate(node):
            check_node(item, f"{key}.{i}")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        target = locate(node["_target_"], key)
        arguments = {k: v for k, v in node.items() if not (k.startswith("_") and k.endswith("_"))}
        given = LEVELS.get(key.rpartition(".")[2], ())
        config.check_call(target, arguments, key, given, partial=bool(node.get("_partial_")))
    for name, child in node.items():
        check_node(child, f"{key}.{name}")


def locate(target: str, key: str) -> Any:
    """The class or function that a `_target_` names; BadInput naming the config key where there is none."""
    try:
        return get_object(target)
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())
        raise BadInput(f"{key}._target_: cannot import {target!r}: {reason}") from error


@contextlib.contextmanager
def refusing(key: str) -> Iterator[None]:
    """What a library refuses inside becomes BadInput naming the config node at `key`."""
    try:
        yield
    except BadInput:
        raise
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        raise BadInput(f"{key}: refuses these settings: {' '.join(str(error).split())}") from error
