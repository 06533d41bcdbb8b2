"""How one command carries Hydra: the only place that touches Hydra's private `_run_hydra`."""

import argparse
import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir, version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from davis_exp import config
from davis_exp.errors import BadInput
from davis_exp.launch import runs, status
from davis_exp.launch.refusals import causes, explain, flat

FULL_ERROR = "HYDRA_FULL_ERROR"
VERSION_BASE = "1.3"


def run_hydra(name: str, module: str, arguments: list[str]) -> int:
    """Run the Hydra command `name` with the command line `arguments` and return its exit code.

    The config is conf/<name>.yaml, the job `module.run(cfg, output)`; `module` is imported only once the job
    begins. Raises BadInput for what cannot be composed, whatever the job raises that is the user's, and
    KeyboardInterrupt.
    """
    parser = _parser(name)
    args = parser.parse_intermixed_args(arguments)
    if name == "train" and not args.shell_completion:
        _continue(args)
    sweeping = args.multirun or "hydra.mode=MULTIRUN" in args.overrides
    job = Job(name, module, os.environ.get(FULL_ERROR))
    version.setbase(VERSION_BASE)
    runs.register_resolvers(claiming=args.cfg is None and args.info is None)
    # A search path that is not there must not pass as an option that is not there.
    warnings.filterwarnings("error", r"provider=.*not available", UserWarning)
    try:
        with _environ(FULL_ERROR, "1"):  # makes Hydra raise instead of printing
            _run_hydra(args, parser, job, str(config.conf_dir()), name)
    except SystemExit as error:  # --hydra-help, and a package that --package does not find
        return status.exit_code(error)
    except Exception as error:
        _refuse(error, args, name)
    if isinstance(job.outcome, BaseException):
        raise job.outcome
    return _finish_sweep(job) if sweeping else job.outcome


def run_job(name: str, module: str, folder: str) -> int:
    """Run, in this process, the job of a sweep that Hydra has composed in `folder`; returns the exit code.

    The process that started this one keeps what it prints.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    cfg = OmegaConf.load(Path(folder) / ".hydra" / "config.yaml")
    assert isinstance(cfg, DictConfig)
    OmegaConf.set_struct(cfg, True)
    return execute(name, module, cfg, Path(folder), recorded=int(os.environ.get("LOCAL_RANK", 0)) == 0)


def execute(name: str, module: str, cfg: DictConfig, folder: Path, *, recorded: bool) -> int:
    """Check `cfg`, import `module`, run it; returns the exit code, 1 after a line on stderr if it fails.

    Where `recorded`, `folder` is locked and its status.json kept. Raises BadInput and KeyboardInterrupt.
    """
    record = status.RunStatus(folder, command=name) if recorded else None
    try:
        with record or contextlib.nullcontext():
            digest = _check(cfg)
            if record:
                record.update(seed=cfg.get("seed"), digest=digest)
            code = import_module(module).run(cfg, folder)
            if record:
                record.update(exit_code=code)
            return code
    except BadInput:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        code = status.exit_code(error)
        if code == 130:
            raise KeyboardInterrupt from error
        if code == 0:
            return code
        if not recorded or os.environ.get(FULL_ERROR) == "1":
            traceback.print_exc()
        where = f", traceback in {_shown(folder / status.ERROR)}" if recorded else ""
        print(f"davis-exp: failed: {status.one_line(error)}{where}", file=sys.stderr, flush=True)
        return code


@dataclass
class Job:
    """The function that Hydra calls; as a module-level class, any launcher can send it to another process."""

    name: str
    module: str
    full_error: str | None  # HYDRA_FULL_ERROR as the user has it: neither job nor children shall see ours
    outcome: int | BaseException = 0  # of a single run: kept here, since Hydra would print a line of its own
    sweep: Path | None = None

    def __call__(self, cfg: DictConfig) -> float | None:
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        with _environ(FULL_ERROR, self.full_error):
            if hydra.mode == RunMode.MULTIRUN:
                from davis_exp.launch import sweep

                self.sweep = Path(hydra.sweep.dir)
                if hydra.output_subdir is None:  # the process to come reads its config there
                    (folder / ".hydra").mkdir(exist_ok=True)
                    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")
                return sweep.run_job(self.name, folder, hydra.job.num, list(hydra.overrides.task))
            try:
                # No .hydra, no run: `budget` leaves nothing behind, and Lightning starts its other ranks so.
                self.outcome = execute(
                    self.name, self.module, cfg, folder, recorded=hydra.output_subdir is not None
                )
            except BaseException as error:
                self.outcome = error
        return None


def _parser(name: str) -> argparse.ArgumentParser:
    def refuse(message: str) -> NoReturn:
        raise BadInput(f"{name}: {message} (davis-exp {name} --help)")

    parser = get_args_parser()
    parser.prog = f"davis-exp {name}"
    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _continue(args: argparse.Namespace) -> None:
    """`resume=RUN`: put what RUN was started with in front of the user's own overrides."""
    values = [o.partition("=")[2].strip("'\"") for o in args.overrides if _key(o) == "resume"]
    if values and runs.is_run(values[-1]):
        if args.multirun:
            raise BadInput(f"resume={values[-1]}: continues one run; leave out -m")
        stored = [
            override for override in runs.stored_overrides(Path(values[-1])) if _key(override) != "resume"
        ]
        args.overrides = stored + args.overrides


def _check(cfg: DictConfig) -> str:
    """What can be found wrong before anything is imported; returns the config's digest."""
    try:
        for key in sorted(OmegaConf.missing_keys(cfg)):
            raise BadInput(f"{key}: missing; give {key}=…")
        config.check_types(cfg, config.ROOT_KEYS)
        return config.digest(cfg)
    except OmegaConfBaseException as error:
        raise BadInput(f"{error.full_key or 'config'}: {flat(str(error))}") from error


def _refuse(error: Exception, args: argparse.Namespace, name: str) -> NoReturn:
    """Raise BadInput for what Hydra, OmegaConf, YAML or the disk refused; a bug of ours as it is."""
    for cause in causes(error):
        if isinstance(cause, BadInput):
            raise cause from error

    def without(key: str) -> DictConfig:
        others = [override for override in args.overrides if _key(override) != key]
        with initialize_config_dir(str(config.conf_dir()), version_base=VERSION_BASE):
            return compose(args.config_name or name, others, return_hydra_config=key.startswith("hydra."))

    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_there = frames[-1].partition(".")[0] in ("hydra", "omegaconf", "yaml", "antlr4")
    if raised_there or isinstance(error, HydraException | OmegaConfBaseException | OSError):
        raise BadInput(explain(error, without)) from error
    raise error


def _finish_sweep(job: Job) -> int:
    """Print the table of all jobs; returns 1 if one of them failed."""
    from davis_exp.launch import sweep

    folder = job.sweep or Path(runs.sweep_dir())  # a launcher that works elsewhere leaves the first one unset
    table, failed = sweep.summary([path.parent for path in folder.rglob(status.STATUS)])
    print(f"\n{table}\n\n{_shown(folder)}", flush=True)
    return int(failed > 0)


def _key(override: str) -> str:
    return override.partition("=")[0].partition("@")[0].lstrip("+~").strip()


def _shown(path: Path) -> str:
    """`path` as the user would type it here."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextlib.contextmanager
def _environ(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
