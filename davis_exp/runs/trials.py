"""search.db: the trials of a search as Optuna keeps them, in the sweep's folder."""

import importlib.util
import inspect
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.config import check_call
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput, choices

if TYPE_CHECKING:
    import optuna

STORAGE, STUDY = "search.db", "search"
ENVIRONMENT = "DAVIS_EXP_TRIAL"  # which trial a job is: [folder of the search, Optuna's id of the trial]
STORAGE_TIMEOUT = 60  # seconds that one process waits for another to have written


def needed() -> None:
    """Raises BadInput where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise BadInput("search: Optuna is not installed; pip install 'davis_exp[optuna]'")


def address(folder: Path) -> str:
    """What `optuna-dashboard` is given to look at the search in `folder`."""
    return f"sqlite:///{(folder / STORAGE).absolute()}"


def study(folder: Path) -> "optuna.Study":
    """The search kept in `folder`, which is begun where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", "The reported value is ignored because this `step`", UserWarning)
    storage = optuna.storages.RDBStorage(
        address(folder), engine_kwargs={"connect_args": {"timeout": STORAGE_TIMEOUT}}
    )
    return optuna.create_study(storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True)


def sampler(settings: Mapping[str, Any], drawn: int) -> "optuna.samplers.BaseSampler":
    """The sampler that `search.sampler` describes, for a search that has drawn so many points.

    Its seed moves on with them: workers that draw at the same time, or one that goes on, shall not draw the same.
    """
    import optuna

    settings = dict(settings)
    if settings.get("seed") is not None:
        settings["seed"] += drawn
    return _made(optuna.samplers, optuna.samplers.BaseSampler, settings, "search.sampler")


def pruner(settings: Mapping[str, Any] | None) -> "optuna.pruners.BasePruner":
    """The pruner that `search.pruner` describes; null: none is pruned."""
    import optuna

    if not settings:
        return optuna.pruners.NopPruner()
    return _made(optuna.pruners, optuna.pruners.BasePruner, settings, "search.pruner")


def told(folder: Path, number: int) -> str:
    """The environment's word for the trial of this id in `folder`."""
    return json.dumps([str(folder.absolute()), number])


def inside() -> bool:
    """Whether this process is the job of a trial."""
    return ENVIRONMENT in os.environ


def listener(search: Mapping[str, Any] | None) -> Callable[[float, int], bool] | None:
    """Hears a value and a step of the trial that this process is the job of; True: the trial is hopeless.

    None in any rank but the first, which tells the others, and outside a search, whose config's node `search` is.
    """
    if not inside() or not search or not distributed.is_main():
        return None
    import optuna

    folder, number = json.loads(os.environ[ENVIRONMENT])
    found = study(Path(folder))
    found.pruner = pruner(search.get("pruner"))
    trial = optuna.trial.Trial(found, number)

    def hear(value: float, step: int) -> bool:
        trial.report(value, step)
        return trial.should_prune()

    return hear


def _made(module: Any, base: type, settings: Mapping[str, Any], key: str) -> Any:
    """The class `name` of one of Optuna's modules, with the other settings. Raises BadInput for what it has not."""
    given = dict(settings)
    name = given.pop("name", None)
    found = getattr(module, name, None) if isinstance(name, str) else None
    if not (inspect.isclass(found) and issubclass(found, base) and found is not base):
        known = [word for word in module.__all__ if not word.startswith("Base") and word[0].isupper()]
        raise BadInput(f"{key}.name: {module.__name__} has no {name!r}{choices(str(name), known)}")
    check_call(found, given, key)
    try:
        return found(**given)
    except (TypeError, ValueError, ImportError) as error:
        raise BadInput(f"{key}: {' '.join(str(error).split())}") from error
