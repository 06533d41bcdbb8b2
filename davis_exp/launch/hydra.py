"""How one command carries Hydra; what is private of Hydra is touched here and in hydra_main and search_command alone."""

import argparse
import contextlib
import os
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from hydra import compose as compose_by_hydra
from hydra import initialize_config_dir, version
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from davis_exp import config
from davis_exp.launch import local, ranks, resuming, runs, search, status, sweep
from davis_exp.launch.error_messages import causes, explain
from davis_exp.launch.hydra_main import main, say_local
from davis_exp.launch.job import FULL_ERROR, Job, environ, run_job, shown
from davis_exp.launch.search_command import run_search
from davis_exp.utils import distributed, given
from davis_exp.utils.errors import BadInput, cannot_write

VERSION_BASE = "1.3"


def run_hydra(
    name: str, module: str, arguments: list[str], files: Sequence[str] = (), switches: Sequence[str] = ()
) -> int:
    """Run the Hydra command `name` with the command line `arguments` and return its exit code.

    The config is conf/<name>.yaml, the job `module.run(cfg, output)`; `module` is imported only once the job
    begins. Each of `files` is an option (--json FILE) and a keyword of the job, each of `switches` one without a
    value; a command that has files goes through the combinations of a sweep by itself, without jobs:
    `module.run_all(overrides, compose)`.
    Raises BadInput for what cannot be composed, whatever the job raises that is the user's, and
    KeyboardInterrupt.
    """
    parser = _parser(name)
    for file in files:
        parser.add_argument(f"--{file}", metavar="FILE")
    for switch in switches:
        parser.add_argument(f"--{switch}", action="store_true")
    searching = name == "search"
    if searching:
        parser.add_argument("--workers", type=int, default=1, metavar="N")
        parser.add_argument("--helper", type=int, default=0, metavar="PID", help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args(arguments)
    args.arguments = arguments
    args.overrides = resuming.rewritten(args.overrides)
    for place in (os.getcwd(), *(runs.value(o) for o in args.overrides if runs.key(o) == "resume")):
        if "${" in place:  # Hydra puts it into its config, where it would be looked up
            raise BadInput(
                f"{given.shown(place)}: no folder with ${{ in its name can be worked in; rename it"
            )
    args.overrides = [*_settled(args, name, recorded=not files), *args.overrides]
    resumed = _continue(args, name) if not args.shell_completion else None
    looking = args.cfg is not None or args.info is not None or args.shell_completion
    by_option = any(runs.key(o) == "sweep" and runs.value(o) != "null" for o in args.overrides)
    args.multirun |= (by_option or searching) and not looking  # an option of sweep/ says what to sweep over
    sweeping = args.multirun or "hydra.mode=MULTIRUN" in args.overrides
    folder = None
    if sweeping and distributed.joined():
        raise BadInput("-m: a sweep starts the processes of its jobs itself; leave out torchrun or srun")
    if name == "train" and search.asked_of_another(args.overrides):
        raise BadInput(search.instead(args.overrides))
    if sweeping and not files and not looking:
        args.overrides, folder = sweep.prepared(args.overrides, holdout=name in ("train", "search"))
    job = Job(
        name,
        module,
        os.environ.get(FULL_ERROR),
        {option: getattr(args, option) for option in (*files, *switches)},
    )
    version.setbase(VERSION_BASE)
    runs.register_resolvers(claiming=not looking)
    local.register()
    # A search path that is not there must not pass as an option that is not there.
    warnings.filterwarnings("error", r"provider=.*not available", UserWarning)
    try:
        if sweeping and files and not looking:
            return _run_all(job, args)
        if args.cfg in ("job", "all") and not args.package:
            say_local(args, name)
        if searching and folder is not None:
            with contextlib.suppress(KeyboardInterrupt) if args.helper else contextlib.nullcontext():
                run_search(job, args, folder)
            return _ended(folder) if not args.helper else 0
        with environ(FULL_ERROR, "1"):  # makes Hydra raise instead of printing
            _run_hydra(args, parser, job, str(config.conf_dir()), name)
    except SystemExit as error:  # --hydra-help, and a package that --package does not find
        return status.exit_code(error)
    except Exception as error:
        _refuse(error, args, name)
    finally:
        if folder is not None:
            with contextlib.suppress(OSError):  # nothing ran
                folder.rmdir()
    if isinstance(job.outcome, BaseException):
        if resumed and isinstance(job.outcome, BadInput):
            resumed.restore()  # what was refused must not be what the next resume starts from
        raise job.outcome
    if folder is None:
        return job.outcome
    return _ended(folder)


def _ended(folder: Path) -> int:
    """Print what a sweep has come to; returns its exit code."""
    table, failed = sweep.finish(folder)
    print(f"\n{table}\n\n{shown(folder)}", flush=True)
    return int(failed > 0)


def _settled(args: argparse.Namespace, name: str, *, recorded: bool) -> list[str]:
    """Overrides that keep what is written where the command's own config has it, whichever is named instead of that."""
    if args.config_name in (None, name) and args.config_path is None:
        return []
    if not recorded:
        return ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]
    return [
        f"hydra.run.dir='{runs.RUN_DIR}'",
        f"hydra.sweep.subdir='{runs.JOB_DIR}'",
        "hydra.output_subdir=.hydra",
    ]


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """The config that `davis-exp <config_name> <overrides>` would run with. Raises BadInput for what cannot be composed."""
    runs.register_resolvers(claiming=False)
    local.register()
    try:
        within = GlobalHydra.instance().is_initialized()  # by the command that this is called from
        own = initialize_config_dir(str(config.conf_dir()), version_base=VERSION_BASE) if not within else None
        with own or contextlib.nullcontext():
            cfg = compose_by_hydra(config_name, list(overrides))
        config.check_types(cfg, config.ROOT_KEYS)
        return cfg
    except Exception as error:
        _refuse(error, argparse.Namespace(overrides=list(overrides), config_name=None), config_name)


def run_started(name: str, module: str, arguments: list[str]) -> int:
    """`run_hydra` in a process that torchrun or srun has started: rank 0 composes, and all work on what comes of it."""
    told = ranks.meet()
    if isinstance(told, int):
        return told
    if told is not None:  # rank 0 keeps the record of a group that was restarted, too
        return run_job(name, module, told, *([str(told / "train.log")] if distributed.is_main() else []))
    code = 1
    try:
        code = run_hydra(name, module, arguments)
    except BaseException as error:
        code = status.exit_code(error)
        raise
    finally:
        ranks.tell(code)
    return code


def _run_all(job: "Job", args: argparse.Namespace) -> int:
    """`module.run_all`, with a `compose` and a config loader that know the user's own folders too."""
    overrides = [o for o in args.overrides if not runs.key(o).startswith(("hydra.", "hydra/"))]
    with main(job.name, args) as (_, paths):
        return import_module(job.module).run_all(
            overrides,
            lambda chosen: compose_by_hydra(args.config_name or job.name, paths + chosen),
            **job.files,
        )


def _parser(name: str) -> argparse.ArgumentParser:
    def refuse(message: str) -> NoReturn:
        raise BadInput(f"{name}: {message} (davis-exp {name} --help)")

    parser = get_args_parser()
    parser.prog = f"davis-exp {name}"
    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _continue(args: argparse.Namespace, name: str) -> runs.Composed | None:
    """`resume=RUN`: put what RUN was started with in front of the user's own overrides; None without it."""
    values = [runs.value(o) for o in args.overrides if runs.key(o) == "resume"]
    if values and resuming.is_run(values[-1]):
        if name != "train":
            raise BadInput(f"resume={values[-1]}: only train continues a run; leave it out")
        if args.multirun:
            raise BadInput(f"resume={values[-1]}: continues one run; leave out -m")
        own = args.overrides + ["hydra.searchpath=--config-dir"] * (args.config_dir is not None)
        stored = [o for o in runs.stored_overrides(Path(values[-1]), own) if runs.key(o) != "resume"]
        args.overrides = stored + args.overrides
        return runs.Composed(Path(values[-1]))
    return None


def _refuse(error: Exception, args: argparse.Namespace, name: str) -> NoReturn:
    """Raise BadInput for what Hydra, OmegaConf, YAML or the disk refused; a bug of ours as it is."""
    for cause in causes(error):
        if isinstance(cause, BadInput):
            raise cause from error
        if "does not support sweep type" in str(cause):  # an interval
            raise BadInput(search.instead(args.overrides)) from error

    if (full := cannot_write(error)) is not None:
        raise full from error

    def without(key: str) -> DictConfig:
        others = [override for override in args.overrides if runs.key(override) != key]
        with initialize_config_dir(str(config.conf_dir()), version_base=VERSION_BASE):
            return compose_by_hydra(
                args.config_name or name, others, return_hydra_config=key.startswith("hydra.")
            )

    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_there = frames[-1].partition(".")[0] in ("hydra", "omegaconf", "yaml", "antlr4")
    if raised_there or isinstance(error, HydraException | OmegaConfBaseException | OSError):
        raise BadInput(explain(error, without)) from error
    raise error
