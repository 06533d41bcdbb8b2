"""The W&B run of a job: started where it is first needed, given what the job leaves behind, always finished.

No wandb here, and nothing else that is slow to import, before a run starts.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from davis_exp import config
from davis_exp.runs import score as scores
from davis_exp.runs import status
from davis_exp.tracking import agent
from davis_exp.tracking.settings import Settings
from davis_exp.utils import distributed
from davis_exp.utils.errors import BadInput, OverBudget, brief
from davis_exp.utils.version import __version__

if TYPE_CHECKING:
    from wandb import Run

    from davis_exp.data.datamodule import ClipDataModule

log = logging.getLogger(__name__)

TARGET = "davis_exp.tracking.wandb.wandb_logger"  # of conf/logger/wandb.yaml
JOB_TYPES = {"train": "train", "test": "run-val"}  # the contest's, by command
STEP = "trainer/global_step"  # what metrics are drawn over


class Session:
    """One W&B run.

    Args:
        folder: the job's, which the run is kept in and which holds what is handed in.
        settings: where the run belongs.
        cfg: the whole resolved config.
        command: train or test.
    """

    def __init__(
        self, folder: Path, settings: Settings, cfg: Mapping[str, Any] | None = None, command: str = "train"
    ) -> None:
        self.folder, self.settings, self.cfg, self.command = folder, settings, dict(cfg or {}), command

    @property
    def started(self) -> bool:
        return "run" in self.__dict__

    @cached_property
    def run(self) -> "Run":
        """The run, started on first use: online if that can be had, else offline. Says which."""
        from davis_exp.tracking import client

        record = status.known(self.folder)
        ours = {key: record.get(key) for key in ("revision", "seed", "digest")}
        settings = self.settings
        run = client.start(
            client.mode(settings.mode),
            self.folder,
            patience=settings.patience,
            project=settings.project,
            entity=settings.entity,
            group=settings.group,
            tags=settings.tags,
            job_type=settings.job_type or JOB_TYPES.get(self.command, self.command),
            name=None if agent.inside() else f"{self.folder.parent.name}/{self.folder.name}",
            config={
                "cfg": _nulls(self.cfg),
                "davis_exp": {"version": __version__, "command": self.command, **ours},
            },
        )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        data = self.cfg.get("data") or {}
        client.use(run, [data.get("artifact"), data.get("test_artifact")])
        self._log_cost(run)
        return run

    def log_split(self, data: "ClipDataModule") -> None:
        """The training clips and the held-out ones of a data set that is an artifact, as artifacts of their own."""
        from davis_exp.data.sources.contest import ContestSource
        from davis_exp.tracking import artifacts

        if isinstance(data.source, ContestSource) and (artifact := data.source.artifacts["train"]):
            metadata = {key: getattr(data.loading, key) for key in ("holdout", "holdout_seed", "fold")}
            parts = {"train": data.train_sequences, "holdout": data.val_sequences}
            root = data.source.root("train")
            artifacts.hand_in_split(self.run, root, artifact, parts, metadata, self.settings.patience)

    def finish(self, code: int, error: BaseException | None = None) -> None:
        """End the run, if it was started, with the job's exit code; over budget is an answer, and no failure."""
        if not self.started:
            return
        from davis_exp.tracking import client

        try:
            if isinstance(error, OverBudget):
                self.run.summary.update({"state": "over_budget", "nparams": error.parameters})
                self.run.tags = (*(self.run.tags or ()), "over_budget")
                code = 0
            elif code == 0 and not self.run.disabled:
                self._hand_in()
            if error is not None:
                self.run.summary["error"] = " ".join(str(error).split()) or type(error).__name__
        except Exception as trouble:  # whatever is wrong with W&B, the job is done
            log.warning("W&B: not all of the run is recorded (%s)", brief(trouble))
        finally:
            client.finish(self.run, code)

    def _hand_in(self) -> None:
        """What a finished job has left in its folder: the score, the results, the best checkpoint."""
        from davis_exp.tracking import artifacts

        self._log_cost(self.run)
        with contextlib.suppress(BadInput):
            self.run.summary.update(artifacts.headline(scores.read(self.folder)))
        name = str(self.cfg.get("name") or "model")
        artifacts.hand_in_results(self.run, self.folder / "results", self.settings)
        if self.settings.checkpoints:
            artifacts.hand_in_checkpoint(
                self.run, self.folder / "checkpoints" / "best.ckpt", name, self.settings
            )

    def _log_cost(self, run: "Run") -> None:
        record = status.known(self.folder)
        run.summary.update({key: record[key] for key in ("nparams", "nflops") if record.get(key) is not None})


def _nulls(node: Any) -> Any:
    """A config with null where a dictionary is empty (flow=none): the client would leave such keys out."""
    if isinstance(node, dict):
        return {key: _nulls(value) for key, value in node.items()} or None
    return node


_open: list[Session] = []


def current() -> Session | None:
    """The session that is open in this process."""
    return _open[-1] if _open else None


@contextlib.contextmanager
def recording(
    cfg: DictConfig, folder: Path, command: str, exit_code: Callable[[BaseException], int]
) -> Iterator[None]:
    """While a job runs with logger=wandb, whatever logs to W&B logs to one run; it ends as the job does.

    Under an agent the run starts at once, for the server has it already; otherwise with the first that is logged, so
    that a job refused before that leaves none. `exit_code` says what an exception ends the program with; of several
    processes the run belongs to the first, and says what went wrong in another if that has ended them all. Raises
    BadInput for settings that conf/logger/wandb.yaml does not have.
    """
    logger = cfg.get("logger")
    node = OmegaConf.to_container(logger, resolve=True) if OmegaConf.is_dict(logger) else None
    if not isinstance(node, dict) or node.get("_target_") != TARGET:
        yield
        return
    given = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    config.check_call(Settings, given, "logger")
    session = Session(folder, Settings(**given), OmegaConf.to_container(cfg, resolve=True), command)  # type: ignore[arg-type]
    _open.append(session)
    code: int = 1
    failure: BaseException | None = None
    try:
        with _interrupted_by_sigterm() if agent.inside() else contextlib.nullcontext():
            if agent.inside():
                agent.say_dropped()
                _ = session.run
            yield
        code = 0
    except BaseException as error:
        failure = distributed.cause(error)
        code = exit_code(failure)
        if code == 130:
            failure = KeyboardInterrupt()  # of which Lightning makes an exit(1)
        raise
    finally:
        _open.remove(session)
        session.finish(code, failure)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """An agent stops a run by SIGTERM, which would leave it unfinished on the server."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
