"""What a run that is gone on with may have changed: nothing in silence."""

import fnmatch
import math
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from davis_exp import config
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted

NO_RUN = (None, "", "null", "none", "auto")  # values of `resume` that name no run

# Shell patterns on the dotted key, `*` for any number of levels.
FREE = (
    *(pattern for pattern in config.NOT_IN_DIGEST if pattern != "callbacks"),
    *("callbacks.progress", "callbacks.previews", "callbacks.*.every_minutes"),  # these only tell
    *("trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm", "trainer.benchmark"),
    *("trainer.profiler", "trainer.detect_anomaly", "trainer.barebones", "trainer.enable_*"),
)
"""How it is run and what it tells; may differ."""
FIXED = (
    *("model", "encoder", "temporal", "decoder", "flow", "task.channels_last"),
    *("optimizer._target_", "optimizer.amsgrad", "callbacks.ema", "trainer.precision"),
)
"""What the checkpoint's weights and states are of; cannot change."""
LENGTHS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
SHOWN = 12  # differences in a message
ABSENT = "(none)"

Change = tuple[Any, Any]  # old, new


def is_run(resume: str | None) -> bool:
    """Whether this value of the key `resume` names a run."""
    return resume not in NO_RUN


def rewritten(overrides: Sequence[str]) -> list[str]:
    """The overrides with `resume.allow=[…]` as `resume_allow=[…]`: `resume` itself holds a run's folder."""
    return [re.sub(r"^(\+{0,2})resume\.allow=", r"\1resume_allow=", override) for override in overrides]


def checkpoints(cfg: Mapping[str, Any], output: Path) -> list[Path]:
    """The checkpoints that a training in `output` may go on from, the last first; none where it begins.

    Raises BadInput where `resume` names a run that has none: it would begin anew, over what the run has kept.
    """
    if cfg["resume"] in (None, "none"):
        return []
    found = list((output / "checkpoints").glob("[!.]*.ckpt"))
    found.sort(key=lambda path: (path.stem != "last", -path.stat().st_mtime))
    if not found and is_run(cfg["resume"]):
        raise BadInput(
            f"resume: {given.shown(output)} has no checkpoint to go on from; leave resume out for a new run"
        )
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    """Where two resolved configs (plain containers) differ in what they compute: dotted key → (old, new)."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = list(dict.fromkeys([*before, *after]))
    unsaid = {key: config.LATER.get(key, ABSENT) for key in keys}  # a run may be older than a key
    pairs = {key: (before.get(key, unsaid[key]), after.get(key, unsaid[key])) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and not _within(key, FREE)}


def accepted(old: Mapping[str, Any], new: Mapping[str, Any], allow: Collection[str]) -> dict[str, Change]:
    """The changes from a checkpoint's config `old` to `new` that a training may go on with.

    These are what `allow` names (a key, or what is above it) and a longer training. Raises BadInput that shows all
    others, and what can be done.
    """
    found = changes(old, new)
    longer = {key for key, pair in found.items() if key in LENGTHS and _longer(*pair)}
    fixed = [key for key in found if _within(key, FIXED)]
    refused = [key for key in found if key in fixed or (key not in longer and not _within(key, tuple(allow)))]
    if not refused:
        return found
    shown = "; ".join(f"{key} {said(found[key])}" for key in refused[:SHOWN])
    more = f"; and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
    if fixed:
        heads = ", ".join(dict.fromkeys(key.partition(".")[0] for key in fixed))
        what = f"its {heads} cannot change; leave that out, or start another run"
    else:
        named = ",".join([*allow, *refused])
        what = f"leave them out, or apply them: {shlex.quote(f'resume.allow=[{named}]')}"
    raise BadInput(f"resume: the run has been trained with other settings: {shown}{more}; {what}")


def said(change: Change) -> str:
    """old → new."""
    return " → ".join("null" if value is None else quoted(value) for value in change)


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif node not in ({}, ()):
        value = list(node) if isinstance(node, tuple) else node
        yield key, config.moved(value) if isinstance(value, str) else value


def _within(key: str, patterns: Collection[str]) -> bool:
    """Whether a pattern is of this key, or of one above it."""
    parts = key.split(".")
    above = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return any(fnmatch.fnmatchcase(name, pattern) for name in above for pattern in patterns)


def _longer(old: Any, new: Any) -> bool:
    def length(value: Any) -> float:
        if value in (None, -1, ABSENT):
            return math.inf
        return value if isinstance(value, int | float) else -math.inf

    return length(new) > length(old)
