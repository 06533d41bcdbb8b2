"""What a command line with several values stands for: every combination, as Hydra's basic sweeper makes them."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType

from davis_exp.utils.errors import BadInput


def split(overrides: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The overrides with one value, and those to sweep over: key → values, in the order given.

    `glob(*)` is what the groups of the Hydra that is running hold. Raises BadInput for an interval, which
    only a search can draw from.
    """
    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None
    fixed: dict[str, str] = {}
    swept: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
        key = override.get_key_element()
        fixed.pop(key, None)  # the last one counts
        swept.pop(key, None)
        if not override.is_sweep_override():
            fixed[key] = str(override.input_line)
        elif override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
            if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
                values = [
                    value for value in values if not value.startswith("_")
                ]  # parts of options, not options
            swept[key] = values
        else:
            raise BadInput(
                f"{override.input_line}: every combination of an interval would be many; list values"
            )
    return list(fixed.values()), swept


def combinations(swept: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Every choice of one value for each key; the last key varies fastest."""
    for values in itertools.product(*swept.values()):
        yield dict(zip(swept, values, strict=True))


def number(swept: Mapping[str, Sequence[str]]) -> int:
    """How many combinations there are."""
    return math.prod(map(len, swept.values()))


def as_overrides(choices: Mapping[str, str]) -> list[str]:
    """Choices as Hydra takes them: key=value."""
    return [f"{key}={value}" for key, value in choices.items()]
