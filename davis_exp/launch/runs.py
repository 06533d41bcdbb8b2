"""Where runs and sweeps are kept: in folders claimed when something runs, and found again by `resume`."""

import contextlib
import functools
import itertools
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from davis_exp.errors import BadInput
from davis_exp.launch import status

NO_RUN = (None, "", "null", "none", "auto")  # values of `resume` that name no run


def is_run(resume: str | None) -> bool:
    """Whether this value of the key `resume` names a run."""
    return resume not in NO_RUN


def claim(parent: Path) -> Path:
    """Make and return a new folder `parent/<date_time>`; "-1", "-2" … is appended where that is taken.

    `mkdir` either makes the folder or fails, so two processes of the same second never share one.
    """
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in itertools.count():
        folder = parent / (f"{stamp}-{attempt}" if attempt else stamp)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


@functools.cache  # Hydra resolves it several times, in copies of the config: one process claims one folder
def run_dir(name: Any, resume: str | None = None) -> str:
    """The folder of this process's run: `resume` where it names one, locked, else a new one in runs/<name>.

    Raises BadInput for a name that is no folder's, and for a run that is not there or in use.
    """
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise BadInput(f"name: {name!r} cannot be a folder's name; give name=… without slashes")
    if not is_run(resume):
        return str(claim(Path("runs") / name))
    folder = Path(str(resume))
    if not folder.is_dir():
        raise BadInput(f"resume: no run's folder at {folder}")
    status.lock(folder)  # before Hydra writes into it
    return str(folder)


@functools.cache
def sweep_dir() -> str:
    """The folder of this process's sweep, a new one in multirun/."""
    return str(claim(Path("multirun")))


def register_resolvers(claiming: bool = True) -> None:
    """Make `${davis_exp.run_dir:${name},${resume}}` and `${davis_exp.sweep_dir:}` known to OmegaConf.

    They claim a folder when they are resolved, and Hydra does that only to run something; `claiming=False` is
    for showing a resolved config.
    """
    for resolver in (run_dir, sweep_dir):
        OmegaConf.register_new_resolver(
            f"davis_exp.{resolver.__name__}",
            resolver if claiming else lambda *_: "<claimed when it runs>",
            replace=True,
            use_cache=True,
        )


def stored_overrides(run: Path) -> list[str]:
    """The overrides that the run in folder `run` was composed with; BadInput if it is no run's."""
    try:
        overrides = yaml.safe_load((run / ".hydra" / "overrides.yaml").read_text())
        hydra = yaml.safe_load((run / ".hydra" / "hydra.yaml").read_text())["hydra"]
        sources = [
            source for source in hydra["runtime"]["config_sources"] if "command-line" in source["provider"]
        ]
    except (OSError, LookupError, TypeError, yaml.YAMLError) as error:
        raise BadInput(f"resume: {run} is no run's folder (it has no readable .hydra)") from error
    # Options of the user's own, from --config-dir or hydra.searchpath, are found again where they were.
    paths = [repr(f"{source['schema']}://{source['path']}") for source in sources]
    return overrides + [f"hydra.searchpath=[{','.join(paths)}]"] * bool(paths)
