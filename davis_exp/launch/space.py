"""What a search draws from, in Hydra's own words for sweeps, and what a trial has drawn."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, ValueType
from hydra.errors import HydraException

from davis_exp.launch import expand
from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


def is_space(override: str) -> bool:
    """Whether an override has several values. One that cannot be read has not: composing says so."""
    with contextlib.suppress(HydraException):
        return OverridesParser.create().parse_override(override).is_sweep_override()
    return False


def space(overrides: Sequence[str]) -> "tuple[list[str], dict[str, BaseDistribution]]":
    """The overrides with one value, and what the others may be, by key, in Hydra's own words for sweeps.

    `a,b` and `choice(a,b)` are one of several; `glob(*)` the options of a group; `range(1,5)` is 1 to 4;
    `interval(0.1,1)` any number between, `tag(log,interval(1e-4,1e-2))` by its logarithm, `int(interval(1,8))` a whole one.
    Raises BadInput for what cannot be read, and where there is nothing to search.
    """
    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None
    fixed: dict[str, str] = {}
    found: dict[str, BaseDistribution] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
        key = override.get_key_element()
        fixed.pop(key, None)  # the last one counts
        found.pop(key, None)
        if override.is_sweep_override():
            found[key] = _distribution(override)
        else:
            fixed[key] = str(override.input_line)
    if not found:
        raise BadInput(
            "search: there is nothing to search; give a key several values, as encoder=resnet18,mit_b0 or "
            "'optimizer.lr=tag(log,interval(1e-4,1e-2))', or sweep=learning"
        )
    return list(fixed.values()), found


def _distribution(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sought = override.value()
    try:
        if isinstance(sought, IntervalSweep) and sought.start is not None and sought.end is not None:
            log = "log" in sought.tags
            whole = "int" in sought.tags or (isinstance(sought.start, int) and isinstance(sought.end, int))
            if whole:
                return IntDistribution(int(sought.start), int(sought.end), log=log)
            return FloatDistribution(float(sought.start), float(sought.end), log=log)
        if isinstance(sought, RangeSweep) and not sought.shuffle:
            values: list[Any] = list(override.sweep_iterator())
            if values and all(isinstance(value, int) for value in values):
                return IntDistribution(values[0], values[-1], step=int(sought.step))
            if values:
                return FloatDistribution(values[0], values[-1], step=float(sought.step))
        words = list(override.sweep_string_iterator())
        if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
            words = [word for word in words if not word.startswith("_")]  # parts of options, not options
        assert isinstance(sought, ChoiceSweep | RangeSweep) or words
        return CategoricalDistribution(tuple(dict.fromkeys(words)))
    except (ValueError, HydraException) as error:
        raise BadInput(f"{override.input_line}: {' '.join(str(error).split())}") from error


def drawn(trial: "optuna.Trial", dimensions: "Mapping[str, BaseDistribution]") -> list[str]:
    """What a trial draws, or has drawn before, as overrides."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values: dict[str, Any] = {}
    for key, own in dimensions.items():
        if isinstance(own, CategoricalDistribution):
            values[key] = trial.suggest_categorical(key, own.choices)
        elif isinstance(own, IntDistribution):
            values[key] = trial.suggest_int(key, own.low, own.high, step=own.step, log=own.log)
        elif isinstance(own, FloatDistribution):
            values[key] = trial.suggest_float(key, own.low, own.high, step=own.step, log=own.log)
    return expand.as_overrides({key: str(value) for key, value in values.items()})
