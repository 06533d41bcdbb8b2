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
from davis_exp.launch import local, ranks, runs, status, sweep
from davis_exp.launch.error_messages import flat
from davis_exp.launch.quoting import pasted
from davis_exp.tracking import agent
from davis_exp.tracking.session import recording
from davis_exp.tracking.settings import patience
from davis_exp.utils import distributed, interrupts, terminal
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
    files: dict[str, str | bool | None] = field(
        default_factory=dict
    )  # that it writes on demand; its switches
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
                if hydra.output_subdir is None:
                    _keep(cfg, folder)
                if distributed.started() and os.environ.get("SLURM_PROCID") != "0":  # rank 0 keeps the record
                    os.chdir(hydra.runtime.cwd)
                    run_job(self.name, self.module, folder)
                    return None
                limits = {key: (cfg.get("budget") or {}).get(key) for key in config.LIMITED}
                identity = runs.identity(cfg, overrides)
                return sweep.run_job(
                    self.name,
                    folder,
                    cwd=hydra.runtime.cwd,
                    limit=limits.pop("limit"),
                    others=limits,
                    grace=sweep.JOB_GRACE + patience(cfg),
                    beside=hydra.launcher.get("n_jobs") or 1,  # joblib's; Ray sees to it itself
                    job=hydra.job.num if not folder.name.isdecimal() else int(folder.name),
                    overrides=overrides,
                    identity=identity,
                    local=local.told(cfg, hydra.runtime.choices),
                    data=lambda: _data(cfg, self.name),
                )
            try:
                # No .hydra, no run: `budget` leaves nothing behind.
                recorded = overrides if hydra.output_subdir is not None else None
                self.outcome = execute(self.name, self.module, cfg, folder, recorded, **self.files)
            except KeyboardInterrupt as error:
                resumable = self.name == "train" and recorded is not None
                self.outcome = _say_interrupted(folder) if resumable else error
            except BaseException as error:
                self.outcome = error
        return None


def run_job(name: str, module: str, folder: Path, *logs: str) -> int:
    """Run and record, in this process, the job that Hydra has composed in `folder`; returns the exit code.

    What it logs goes to standard output, which a sweep keeps, and to the files `logs`. The job goes on from its last
    checkpoint, if any.
    """
    if not distributed.joined() and distributed.started():  # by a sweep's launcher, as one of several
        distributed.join()
    if not distributed.is_main():
        return run_rank(name, module, folder, again=True)
    cfg = _composed(folder, logs)
    if "resume" in cfg and (cfg.resume is None or logs):
        cfg.resume = "auto"
    return execute(name, module, cfg, folder, [])


def run_rank(name: str, module: str, folder: Path, *logs: str, again: bool = False) -> int:
    """Work on the job in `folder` as one of several, and leave it to others to record it and to say what goes wrong.

    With `again` it goes on from its last checkpoint, if any.
    """
    try:
        with interrupts.heard(), distributed.together():
            if not distributed.joined():
                distributed.join()
            if not distributed.is_main():
                ranks.hush(folder)
            cfg = _composed(folder, logs if distributed.is_main() else ())
            if again and "resume" in cfg:
                cfg.resume = "auto"
            code = _work(name, module, cfg, folder, tracked=(folder / status.STATUS).is_file())
    except BaseException as error:
        if not distributed.is_main():
            traceback.print_exc()
        return status.exit_code(error)
    ranks.log_file(folder, distributed.rank()).unlink(missing_ok=True)
    return code


def _composed(folder: Path, logs: Sequence[str]) -> DictConfig:
    handlers = [terminal.Console(), *map(logging.FileHandler, logs)]
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    cfg = OmegaConf.load(folder / ".hydra" / "config.yaml")
    assert isinstance(cfg, DictConfig)
    OmegaConf.set_struct(cfg, True)
    return cfg


def _work(
    name: str, module: str, cfg: DictConfig, folder: Path, *, tracked: bool, **files: str | bool | None
) -> int:
    """The job itself, in every one of its processes; W&B hears of one."""
    tracked = tracked and distributed.is_main()
    with recording(cfg, folder, name, status.exit_code) if tracked else contextlib.nullcontext():
        code: int = import_module(module).run(cfg, folder, **files)
    return code


def execute(
    name: str,
    module: str,
    cfg: DictConfig,
    folder: Path,
    recorded: Sequence[str] | None,
    **files: str | bool | None,
) -> int:
    """Check `cfg`, import `module`, run it; returns the exit code, 1 after a line on stderr if it fails.

    With several devices it is imported and run by as many processes, none of them this one, unless torchrun or srun has
    started them. Where `recorded` holds overrides, `folder` is locked and its status.json kept. Raises BadInput, and
    KeyboardInterrupt, for SIGTERM too.
    """
    record = status.RunStatus(folder, command=name) if recorded is not None else None
    try:
        # By itself, Lightning would end as if all were done.
        with interrupts.heard(), record or contextlib.nullcontext():
            digest = _check(cfg)
            if record and recorded is not None:
                record.update(seed=cfg.get("seed"), digest=digest)
                if not status.read(folder).get("identity"):
                    record.update(identity=runs.identity(cfg, recorded))
                    _say_unfinished(folder)

            ranks.tell(folder)
            world = 1 if distributed.joined() else ranks.wanted(name, plain(cfg.get("trainer") or {}))
            code = 0
            if max(world, distributed.world_size()) > 1 and name == "tune":
                raise BadInput(
                    "trainer.devices: tune on one device; on several a batch is shared out among them"
                )
            if world > 1:
                if recorded is None:
                    _keep(cfg, folder)
                ranks.run(name, folder, world, grace=ranks.RANK_GRACE + patience(cfg))
            else:
                with distributed.together():
                    code = _work(name, module, cfg, folder, tracked=record is not None, **files)
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


def _keep(cfg: DictConfig, folder: Path) -> None:
    """What processes to come read the config from, where Hydra does not write it."""
    (folder / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")


def _data(cfg: DictConfig, name: str) -> str | None:
    """What the frames and masks of a job are now; None where it cannot be told."""
    from davis_exp.data import digest  # which loads OpenCV: only where there is an answer to hold it against

    return digest.of_config(plain(cfg.get("data") or {}), name)


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
