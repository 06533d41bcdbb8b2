"""Composed configs: where conf/ is, what a config must be like, and what is made of one. Imports no torch."""

from davis_exp.config.checks import check_call, check_types
from davis_exp.config.composed import (
    COSTS,
    LATER,
    LIMITED,
    NOT_IN_DIGEST,
    ROOT_KEYS,
    check_whole,
    conf_dir,
    digest,
    groups,
    moved,
    option,
)

__all__ = [
    "COSTS",
    "LATER",
    "LIMITED",
    "NOT_IN_DIGEST",
    "ROOT_KEYS",
    "check_call",
    "check_types",
    "check_whole",
    "conf_dir",
    "digest",
    "groups",
    "moved",
    "option",
]
