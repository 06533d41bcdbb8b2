"""The closed table of what a file may name: a config that came with a file is data, and makes nothing but our parts.

Checkpoints, model files and folders of runs come from anywhere. Their configs are looked up here before anything is
imported, and no interpolation in them is ever resolved.
"""

import functools
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from davis_exp import config
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted

MODEL = ("model", "encoder", "temporal", "decoder", "flow")  # root keys that a model is made of
BELOW = {"encoder": ("encoder", "fusion")}  # groups whose parts may stand in a part of a group; else its own
HYDRA = {"_target_": str, "_partial_": bool, "_convert_": str}  # keys of a node that are no arguments
LOADING = re.compile(r"checkpoint_path|pretrained.*|cache_dir|.*_file|features_only|scriptable|exportable")
"""Options of libraries' constructors that would read or fetch something, or make something else."""
FACTORY = re.compile(r"keras\.applications\.[A-Z]\w*|davis_exp\.models\.keras\.segmenter\.starter")
"""What may stand at `factory`: functions that make models of Keras', and nothing else."""
REFERENCE = re.compile(r"\$\{([A-Za-z_][\w.]*)\}")
LARGEST = {"data": 2.0**32}  # of a number among a part's arguments, by group: a seed
USUAL = 2.0**16  # a width, a depth, a number of rounds

INFERENCE = dict.fromkeys(
    (
        "size",
        "window",
        "stride",
        "flip",
        "scales",
        "select_motion",
        "flow_gaps",
        "consensus",
        "carry",
        "track",
        "track_share",
    ),
    Any,
)
SIDE, PIXELS = 2**13, 2**24  # of what a model is to see, at most
WINDOW, SCALES, SCALE = 2**10, 16, 8.0
FURTHEST = 4  # frames that motion may lead to: as many as a film read in order still holds on either side
GAPS = f"null, or whole numbers from -{FURTHEST} to {FURTHEST}, none 0 and none twice"
TRACKS = "false, mass, motion or speed"


def flow_gaps(value: object) -> bool:
    """Whether it is what `inference.flow_gaps` may be."""
    if not isinstance(value, list | tuple):
        return value is None
    whole = all(type(gap) is int and 0 < abs(gap) <= FURTHEST for gap in value)
    return whole and len(value) == len(set(value)) > 0


@functools.cache
def table() -> Mapping[str, Mapping[str, bool]]:
    """The classes that our own conf/ names, by group: what a config from elsewhere may have made.

    With each whether more of its arguments come later (`_partial_`).
    """
    found: dict[str, dict[str, bool]] = {}
    for file in config.conf_dir().glob("*/*.yaml"):
        found.setdefault(file.parent.name, {}).update(_targets(yaml.safe_load(file.read_text("utf-8"))))
    return found


def _targets(node: Any) -> Iterator[tuple[str, bool]]:
    if isinstance(node, dict) and "_target_" in node:
        yield node["_target_"], node.get("_partial_", False)
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _targets(child)


def everything() -> frozenset[str]:
    """The classes of all groups of our own conf/."""
    return frozenset(target for group in table().values() for target in group)


def check_config(stored: Any, name: str, allow: Collection[str] = ()) -> dict[str, Any]:
    """The config that came with the file `name`, checked: plain data, whose model consists of parts of ours.

    Args:
        stored: what was read; resolved before it was written, so that a `${…}` in it is refused.
        allow: classes of the user's own that it may name besides.

    Raises:
        BadInput: naming the file and the key.
    """
    given.bounded(stored, name)
    if not isinstance(stored, dict) or not isinstance(stored.get("model"), dict):
        raise BadInput(f"{name}: has no config of a model in it; only what davis-exp wrote can be used")
    _refuse_interpolations(stored, name)
    if stored["model"].get("_partial_") and not (stored.get("encoder") and stored.get("decoder")):
        raise BadInput(f"{name}: its model has no encoder or no decoder")
    for key in MODEL:
        if stored.get(key):  # `flow=none` is no node
            check_part(stored[key], key, name, allow=allow)
    _check_settings(stored, name)
    return stored


def check_part(node: Any, key: str, name: str, *, group: str = "", allow: Collection[str] = ()) -> None:
    """Refuses the node at `key` of the file `name` unless all it has made are classes of its group, by our table.

    Nothing is imported. `group` is that of the node's key where it is not given. Raises BadInput.
    """
    group = group or key
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise BadInput(f"{name}: {key} names no class")
    _check_node(node, key, name, (group,), BELOW.get(group, (group,)), allow)


def _check_node(
    node: Any, key: str, name: str, own: Collection[str], below: Collection[str], allow: Collection[str]
) -> None:
    if isinstance(node, list):
        for i, child in enumerate(node):
            _check_node(child, f"{key}.{i}", name, below, below, allow)
    elif isinstance(node, dict):
        for child_key, child in node.items():
            where = f"{key}.{child_key}"
            if child_key.startswith("_") and not isinstance(child, HYDRA.get(child_key, ())):
                raise BadInput(f"{name}: {where} is not for a file to set")
        if "_target_" in node:
            target, partial = node["_target_"], node.get("_partial_", False)
            known = [table()[group] for group in own]
            partials = {names[target] for names in known if target in names}
            if target in allow:
                partials = {next(iter(names.values())) for names in known}  # as others of its group
            if partials and partial not in partials:
                raise BadInput(f"{name}: {key}._partial_ must be {str(not partial).lower()} for {target}")
            if not partials:
                kinds = " or ".join(own)
                raise BadInput(
                    f"{name}: {key}._target_ is {quoted(target)}, no {kinds} of davis-exp's; {_if_yours(target)}"
                )
        for child_key, child in node.items():
            where = f"{key}.{child_key}"
            if LOADING.fullmatch(child_key) and child is not None:
                raise BadInput(f"{name}: {where} is not for a file to set")
            if child_key == "factory" and not (
                child is None or child in allow or FACTORY.fullmatch(str(child))
            ):
                raise BadInput(f"{name}: {where} is {quoted(child)}; {_if_yours(child)}")
            _check_node(child, where, name, below, below, allow)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        largest = max(LARGEST.get(group, USUAL) for group in own)
        if not given.number(node, -largest, largest):
            raise BadInput(f"{name}: {key} is {node}, more than a part can have")


def _if_yours(target: object) -> str:
    return f"if it is yours and you trust this file, allow it: --allow {quoted(target)}, or 'allow=[{quoted(target)}]'"


def referred(stored: Any) -> Any:
    """A config with each `${key}` replaced by the plain value at that key; every other `${…}` stays, to be refused.

    It is all that our own configs need of interpolation, and can neither call anything nor go round in circles.
    """

    def value(text: str) -> Any:
        found = stored
        match = REFERENCE.fullmatch(text)
        for part in match[1].split(".") if match else ():
            found = found.get(part) if isinstance(found, dict) else None
        plain = isinstance(found, int | float) or (isinstance(found, str) and "${" not in found)
        return found if match and plain else text

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(child) for key, child in node.items()}
        if isinstance(node, list):
            return [walk(child) for child in node]
        return value(node) if isinstance(node, str) else node

    return walk(stored)


def _refuse_interpolations(node: Any, name: str, key: str = "") -> None:
    if isinstance(node, str) and ("${" in node or node == "???"):
        raise BadInput(f"{name}: {key} is {quoted(node)}: a config in a file holds plain values")
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for child_key, child in children:
        _refuse_interpolations(child, name, f"{key}.{child_key}" if key else str(child_key))
        if isinstance(child_key, str) and "${" in child_key:
            raise BadInput(f"{name}: {quoted(child_key)} is no key")


def _check_settings(stored: dict[str, Any], name: str) -> None:
    """Types and ranges of what is used of a stored config beside the parts. Raises BadInput."""

    def refuse(key: str, value: Any, wanted: str) -> None:
        raise BadInput(f"{name}: {key} must be {wanted}, got {quoted(value)}")

    def size(value: Any) -> bool:
        sides = value if isinstance(value, list) and len(value) == 2 else [0]
        return (
            all(isinstance(s, int) and given.number(s, 1, SIDE) for s in sides) and math.prod(sides) <= PIXELS
        )

    for key in ("inference", "task", "budget", "data"):
        if not isinstance(stored.setdefault(key, {}) if key != "inference" else stored.get(key), dict):
            refuse(key, stored.get(key), "keys with values")
    how = stored["inference"]
    config.check_types(how, INFERENCE)
    how.setdefault("size", None)
    how.setdefault("scales", [1.0])
    for key, value in (("inference.size", how["size"]), ("data.size", stored["data"].get("size"))):
        if value is not None and not size(value):
            refuse(key, value, f"two whole numbers up to {SIDE} (height, width), {PIXELS:,} pixels at most")
    scales = how["scales"]
    if (
        not isinstance(scales, list)
        or not 1 <= len(scales) <= SCALES
        or not all(given.number(scale, 0.05, SCALE) for scale in scales)
    ):
        refuse("inference.scales", scales, f"1 to {SCALES} numbers from 0.05 to {SCALE:g}")
    for key in ("window", "stride"):
        if key in how and not (type(how[key]) is int and 1 <= how[key] <= WINDOW):
            refuse(f"inference.{key}", how[key], f"a whole number from 1 to {WINDOW}")
    for where, key in ((how, "flip"), (how, "select_motion"), (stored["task"], "channels_last")):
        if not isinstance(where.get(key, False), bool):
            refuse(key, where[key], "true or false")
    for key in ("consensus", "carry", "track_share"):
        if key in how and not given.number(how[key], 0, 1):
            refuse(f"inference.{key}", how[key], "a number from 0 to 1")
    if (track := how.get("track", False)) is not False and track not in ("mass", "motion", "speed"):
        refuse("inference.track", track, TRACKS)
    if not flow_gaps(how.get("flow_gaps")):
        refuse("inference.flow_gaps", how["flow_gaps"], GAPS)
    limit = stored["budget"].get("limit")
    if limit is not None and not (type(limit) is int and limit > 0):
        refuse("budget.limit", limit, "a whole number above 0, or null")
    for key in config.LIMITED:
        most = stored["budget"].get(key)
        if most is not None and not given.number(most, 0):
            refuse(f"budget.{key}", most, "a number of at least 0, or null")
    if not isinstance(stored.get("name", ""), str) or len(stored.get("name", "")) > 255:
        refuse("name", stored["name"], "a name")
