"""`logger=wandb`: Lightning's metrics to the job's W&B run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

from davis_exp.tracking.session import Session, current
from davis_exp.tracking.settings import Settings

if TYPE_CHECKING:
    from wandb import Run


def wandb_logger(*, save_dir: str, **settings: Any) -> "SessionLogger":
    """The logger of the job that runs in `save_dir`; `settings` are those of `tracking.settings.Settings`.

    Outside a job it gets a run of its own, which whoever has asked for it finishes (`logger.session.finish(0)`).
    """
    return SessionLogger(current() or Session(Path(save_dir), Settings(**settings)))


class SessionLogger(WandbLogger):
    """Lightning's W&B logger over the run of a session, which is started by the first use and not finished here."""

    def __init__(self, session: Session) -> None:
        settings = session.settings
        super().__init__(project=settings.project, save_dir=str(session.folder), log_model=False)
        self.session = session

    @property
    @rank_zero_experiment
    def experiment(self) -> "Run":
        if self._experiment is None:
            self._experiment = self.session.run
        return self._experiment  # type: ignore[return-value]
