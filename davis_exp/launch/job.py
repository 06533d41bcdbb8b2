"""One job: what Hydra calls for each composed config, and how it is run and recorded."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from davis_exp import config
from davis_exp.config.instantiate import plain
from davis_exp.launch import runs, status, sweep
from davis_exp.launch.error_messages import flat
from davis_exp.launch.quoting import pasted
from davis_exp.tracking import agent
from davis_exp.tracking.session import recording
from davis_exp.tracking.settings import patience
from davis_exp.utils import distributed, interrupts
from davis_exp.utils.errors import BadInput, OverBudget, cannot_write
from davis_exp.utils.following import follow

log = logging.getLogger(__name__)

FULL_ERROR = "HYDRA_FULL_ERROR"
runs.register_resolvers()  # a launcher's worker meets them before anything else of ours


@dataclass
class Job:
    """The function that Hydra calls; as a module-level class, any launcher can send it to another process."""

    name: str
    module: str
    full_error: str | None  # HYDRA_FULL_ERROR as the user has it: neither job nor children shall see ours
    options: dict[str, str | bool | None] = field(default_factory=dict)  # keywords of the command's own
    outcome: int | BaseException = 0  # of a single run: kept here, since Hydra would print a line of its own
    starter: int = field(default_factory=os.getpid)  # the process that the command was given to

    def __call__(self, cfg: DictConfig) -> float | None:
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        overrides = runs.task_overrides(hydra)
        with environ(FULL_ERROR, self.full_error):
            if hydra.mode == RunMode.MULTIRUN:
                if os.getppid() == self.starter:  # a worker of joblib's, which would outlive a killed sweep
                    follow(self.starter, kernel=False)
                if hydra.output_subdir is None:  # the process to come reads its config there
                    (folder / ".hydra").mkdir(exist_ok=True)
                    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")
                limits = {key: (cfg.get("budget") or {}).get(key) for key in config.LIMITED}
                identity = runs.identity(cfg, overrides)
                return sweep.run_job(
                    self.name,
                    folder,
                    cwd=hydra.runtime.cwd,
                    limits=limits,
                    grace=sweep.GRACE + patience(cfg),
                    beside=hydra.launcher.get("n_jobs") or 1,  # joblib's; Ray sees to it itself
                    job=hydra.job.num if not folder.name.isdecimal() else int(folder.name),
                    overrides=overrides,
                    identity=identity,
                )
            try:
                # No .hydra, no run: `budget` leaves nothing behind.
                recorded = overrides if hydra.output_subdir is not None else None
                self.outcome = execute(self.name, self.module, cfg, folder, recorded, **self.options)
            except KeyboardInterrupt as error:
                resumable = self.name == "train" and recorded is not None
                self.outcome = _say_interrupted(folder) if resumable else error
            except BaseException as error:
                self.outcome = error
        return None


def run_job(name: str, module: str, folder: str) -> int:
    """Run, in this process, the job of a sweep that Hydra has composed in `folder`; returns the exit code.

    The process that started this one keeps what it prints. The job goes on from its last checkpoint, if any.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    cfg = OmegaConf.load(Path(folder) / ".hydra" / "config.yaml")
    assert isinstance(cfg, DictConfig)
    OmegaConf.set_struct(cfg, True)
    if "resume" in cfg and cfg.resume is None:
        cfg.resume = "auto"
    return execute(name, module, cfg, Path(folder), [])


def execute(
    name: str,
    module: str,
    cfg: DictConfig,
    folder: Path,
    recorded: Sequence[str] | None,
    **options: str | bool | None,
) -> int:
    """Check `cfg`, import `module`, run it; returns the exit code, 1 after a line on stderr if it fails.

    With several devices it is imported and run by as many processes, none of them this one. Where `recorded` holds
    overrides, `folder` is locked and its status.json kept. Raises BadInput, and KeyboardInterrupt, for SIGTERM too.
    """
    record = status.RunStatus(folder, command=name) if recorded is not None else None
    try:
        with record or contextlib.nullcontext():
            digest = _check(cfg)
            if record and recorded is not None:
                record.update(seed=cfg.get("seed"), digest=digest)
                if not status.read(folder).get("identity"):
                    record.update(identity=runs.identity(cfg, recorded))
                    _say_unfinished(folder)

            def work() -> int:  # by several processes where there are several devices; W&B hears of one
                tracked = record is not None and distributed.here().first
                with recording(cfg, folder, name, status.exit_code) if tracked else contextlib.nullcontext():
                    return import_module(module).run(cfg, folder, **options)

            world = distributed.number(plain(cfg.get("trainer") or {}).get("devices"))
            with interrupts.heard():  # Lightning by itself would end as if all were done
                code = (
                    distributed.run(work, world, folder, grace=distributed.GRACE + patience(cfg))
                    if world > 1
                    else work()
                )
            if record:
                record.update(exit_code=code)
            return code
    except BadInput as error:
        if isinstance(error, OverBudget) and agent.inside():  # an answer: the agent shall go on
            log.info("%s\n%s", error.table, error)
            return 0
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        code = status.exit_code(error)
        if code == 130:
            raise KeyboardInterrupt from error
        if code == 0:
            return code
        if os.environ.get(FULL_ERROR) == "1" or (recorded is None and cannot_write(error) is None):
            traceback.print_exc()
        if (full := cannot_write(error)) is not None:
            print(f"davis-exp: {full}", file=sys.stderr, flush=True)
            return code
        where = f", traceback in {shown(folder / status.ERROR)}" if (folder / status.ERROR).is_file() else ""
        print(f"davis-exp: failed: {status.one_line(error)}{where}", file=sys.stderr, flush=True)
        return code


def _check(cfg: DictConfig) -> str:
    """What can be found wrong before anything is imported; returns the config's digest."""
    try:
        for key in sorted(OmegaConf.missing_keys(cfg)):
            raise BadInput(f"{key}: missing; give {key}=…")
        config.check_types(cfg, config.ROOT_KEYS)
        return config.digest(cfg)
    except OmegaConfBaseException as error:
        raise BadInput(f"{error.full_key or 'config'}: {flat(str(error))}") from error


def _say_unfinished(folder: Path) -> None:
    """Where another run of the same config has ended too early, how to go on with it."""
    other = runs.unfinished(folder.parent, status.read(folder)["identity"])
    if other is not None:
        log.info("a run of this very config is unfinished; to go on with it: %s", _resuming(other))


def _say_interrupted(folder: Path) -> int:
    """The program's last line where a training was interrupted: how to go on with it. Returns the exit code."""
    how = f"nothing was saved yet in {shown(folder)}"
    if (folder / "checkpoints" / "last.ckpt").is_file():
        how = f"go on with: davis-exp train {_resuming(folder)}"
    print(f"davis-exp: interrupted; {how}", file=sys.stderr, flush=True)
    return 0 if agent.inside() else 130  # as cli.py has it


def _resuming(folder: Path) -> str:
    """The argument that goes on with the run in `folder`, as it can be pasted into a shell."""
    return pasted("resume", shown(folder))


def shown(path: Path) -> str:
    """`path` as the user would type it here."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextlib.contextmanager
def environ(name: str, value: str | None) -> Iterator[None]:
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
