"""Where runs and sweeps are kept: in folders claimed when something runs, and found again by what they compute."""

import contextlib
import fnmatch
import functools
import hashlib
import itertools
import re
import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from davis_exp import config
from davis_exp.config import parts
from davis_exp.config.instantiate import plain
from davis_exp.launch import job_folders, ranks, resuming, status
from davis_exp.launch.quoting import plain_value, quoted_value
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted
from davis_exp.utils.written import sweep_folder

NAMED_IN_IDENTITY = ("callbacks", "callbacks[./@]*", "*.root", "*.path", "*.paths", "*.folder")
"""Overrides that a config's digest passes over, but that a sweep may well be about."""


RUN_DIR = "${davis_exp.run_dir:${name},${oc.select:resume,null}}"  # as conf/_run.yaml has them
JOB_DIR = "${davis_exp.job_dir:}"
TARGET = re.compile(r"_target_\s*[:=]\s*['\"]?([\w.]+)['\"]?")
WORD = re.compile(r"[\w.]+")


def key(override: str) -> str:
    """The key of an override, without its package and what is done to it: ++data.root=x → data.root."""
    return override.partition("=")[0].partition("@")[0].lstrip("+~").strip()


def value(override: str) -> str:
    """The value of an override: the string that it stands for, else as it is written."""
    return plain_value(override.partition("=")[2])


def task_overrides(hydra: Any) -> list[str]:
    """The overrides of a job as they were written, in Hydra's own config."""
    written: Any = OmegaConf.to_container(hydra.overrides.task)  # as a list it would resolve what is in them
    return [str(override) for override in written]


def identity(cfg: DictConfig, overrides: Iterable[str]) -> str:
    """A digest (hex): runs of equal identity compute the same thing, so one may go on with the other."""
    composed = OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "hydra"])
    told = sorted(o for o in overrides if any(fnmatch.fnmatchcase(key(o), p) for p in NAMED_IN_IDENTITY))
    return hashlib.sha256("\n".join([config.digest(composed), *told]).encode()).hexdigest()


def claim(parent: Path) -> Path:
    """Make and return a new folder `parent/<date_time>`; "-1", "-2" … is appended where that is taken.

    `mkdir` either makes the folder or fails, so two processes of the same second never share one.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for run in parent.glob("*/"):  # some were killed, and will not be gone on with
        sweep_folder(run)
        sweep_folder(run / "checkpoints")
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in itertools.count():
        folder = parent / (f"{stamp}-{attempt}" if attempt else stamp)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def unfinished(parent: Path, wanted: str) -> Path | None:
    """The latest run in `parent` of the identity `wanted` that has ended too early, and can be gone on with."""
    for folder in sorted(parent.glob("*/"), reverse=True):
        record = status.current(folder)
        ended = record.get("state") not in ("finished", "running")
        if ended and record.get("identity") == wanted and (folder / "checkpoints" / "last.ckpt").is_file():
            return folder
    return None


@functools.cache  # Hydra resolves it several times, in copies of the config: one process claims one folder
def run_dir(name: Any, resume: str | None = None, wanted: str = "") -> str:
    """The folder of this process's run: the one that `resume` names, locked, else a new one in runs/<name>.

    With resume=auto it is an unfinished run of the identity `wanted`, where there is one. Raises BadInput for a
    name that is no folder's, and for a run that is not there or in use.
    """
    parent = Path("runs") / folder_name(name)
    found = unfinished(parent, wanted) if resume == "auto" else None
    if found is None and not resuming.is_run(resume):
        return str(claim(parent))
    folder = found or Path(str(resume))
    if not folder.is_dir():
        raise BadInput(f"resume: no run's folder at {folder}")
    status.lock(folder)  # before Hydra writes into it
    return str(folder)


def folder_name(name: Any) -> str:
    """`name`, if it can be a folder's; otherwise BadInput."""
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise BadInput(f"name: {name!r} cannot be a folder's name; give name=… without slashes")
    return name


def sweep_dir(overrides: Sequence[str]) -> Path:
    """The folder of the sweep that these overrides make: the same for the same command.

    It is multirun/<name> where a name is given, else named by a digest of the overrides, whatever their order and
    without those that say only where or how jobs run; with resume=none a new one.
    """
    given = {key(override): value(override) for override in overrides}
    if given.get("resume") == "none":
        return claim(Path("multirun"))
    if "name" in given and "," not in given["name"]:
        return Path("multirun") / folder_name(given["name"])
    about = sorted(o for o in overrides if _is_about(key(o)))
    return Path("multirun") / hashlib.sha256("\n".join(about).encode()).hexdigest()[:10]


def register_resolvers(claiming: bool = True) -> None:
    """Make `${davis_exp.run_dir:${name},${resume}}` and `${davis_exp.job_dir:}` known to OmegaConf.

    They claim a folder when they are resolved, and Hydra does that only to run something; `claiming=False` is
    for showing a resolved config. `${davis_exp.devices:}` is how many devices of each machine the config asks for,
    `${davis_exp.gpus:}` how many of them are GPUs; for accelerator=auto as this machine has them.
    """

    def run(name: Any, resume: str | None = None, *, _root_: DictConfig) -> str:
        wanted = identity(_root_, task_overrides(_root_.hydra)) if resume == "auto" else ""
        return run_dir(name, resume, wanted)

    def job(*, _root_: DictConfig) -> str:
        hydra = _root_.hydra
        if set(_root_) == {"hydra"}:  # Hydra's own copy, which says where the job already is
            return Path(hydra.runtime.output_dir).name
        overrides = task_overrides(hydra)
        return job_folders.claim(
            Path(hydra.sweep.dir), identity(_root_, overrides), overrides, hydra.job.num
        ).name

    for name, resolver in (("run_dir", run), ("job_dir", job)):
        OmegaConf.register_new_resolver(
            f"davis_exp.{name}",
            resolver if claiming else lambda *_: "<claimed when it runs>",
            replace=True,
        )

    def devices(*, _root_: DictConfig) -> int:
        return ranks.number(plain(OmegaConf.select(_root_, "trainer.devices")))

    def gpus(*, _root_: DictConfig) -> int:
        accelerator = OmegaConf.select(_root_, "trainer.accelerator", default="auto")
        if accelerator == "auto":
            import torch  # only where a launcher asks

            accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        return devices(_root_=_root_) if accelerator in ("gpu", "cuda") else 0

    OmegaConf.register_new_resolver("davis_exp.devices", devices, replace=True)
    OmegaConf.register_new_resolver("davis_exp.gpus", gpus, replace=True)


class Composed:
    """What a run was composed with, as its `.hydra` holds it now, and how it ended."""

    def __init__(self, run: Path) -> None:
        told = [path for name in (status.STATUS, status.ERROR) if (path := run / name).is_file()]
        self._files = {path: path.read_bytes() for path in [*(run / ".hydra").glob("*.yaml"), *told]}

    def restore(self) -> None:
        """Put it back, after Hydra has written what turned out not to work."""
        for path, content in self._files.items():
            path.write_bytes(content)


def stored_overrides(run: Path, own: Sequence[str] = ()) -> list[str]:
    """The overrides that the run in folder `run` was composed with; BadInput if it is no run's.

    The folder may be another's, so they are data: where a run is kept and how it is launched is not theirs to say
    (`hydra.*` is left out), and what they name is made only where it is in our own table or in an `allow=[…]` of the
    user's `own` overrides. Folders of further options are the user's to give again.
    """
    try:
        stored = given.read_yaml(run / ".hydra" / "overrides.yaml")
        hydra = given.read_yaml(run / ".hydra" / "hydra.yaml")["hydra"]
        sources = [
            source for source in hydra["runtime"]["config_sources"] if "command-line" in source["provider"]
        ]
        paths = [quoted_value(f"{source['schema']}://{source['path']}") for source in sources]
    except (LookupError, TypeError, BadInput) as error:
        raise BadInput(
            f"resume: {given.shown(run)} is no run's folder (it has no readable .hydra)"
        ) from error
    if not isinstance(stored, list) or not all(isinstance(override, str) for override in stored):
        raise BadInput(f"resume: {run / '.hydra/overrides.yaml'} is no list of overrides")
    allowed = parts.everything() | {word for o in own if key(o) == "allow" for word in WORD.findall(o)}
    kept = []
    for override in stored:
        if any(
            part.lstrip("+~").split(".")[0].split("/")[0] == "hydra"
            for part in override.partition("=")[0].split("@")
        ):
            continue
        named = TARGET.findall(override)
        if "${" in override or "_target_" in TARGET.sub("", override) or not allowed.issuperset(named):
            name = next((name for name in named if name not in allowed), override)
            raise BadInput(
                f"resume: {given.shown(run)} was started with {quoted(override)}, which a folder is not believed; if you "
                f"trust it, add {shlex.quote(f'allow=[{quoted(name)}]')}"
            )
        kept.append(override)
    if paths and not any(key(o) == "hydra.searchpath" for o in own):
        raise BadInput(
            f"resume: {given.shown(run)} was started with options of its own; if you trust them, give them again: "
            + shlex.quote(f"hydra.searchpath=[{','.join(paths)}]")
        )
    return kept


def _is_about(name: str) -> bool:
    return (
        name != "hydra"
        and not name.startswith(("hydra.", "hydra/"))
        and (
            any(fnmatch.fnmatchcase(name, pattern) for pattern in NAMED_IN_IDENTITY)
            or not any(
                fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")
                for pattern in config.NOT_IN_DIGEST
            )
        )
    )
