"""`logger=aim`: Aim's own logger for Lightning, and what the run has made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from davis_exp.tracking.recorder import Recorder, needed

needed("aim")

from aim.pytorch_lightning import AimLogger  # noqa: E402


class RunAim(Recorder, AimLogger):
    """A run in an Aim repository.

    Args:
        save_dir: the run's folder.
        experiment: the experiment that it belongs to.
        repo: where the repository is, a folder or a server's aim://HOST:PORT; None: .aim here.
        checkpoints: whether the best checkpoint is handed in.
    """

    service = "Aim"

    def __init__(
        self,
        save_dir: str,
        experiment: str = "davis_exp",
        repo: str | None = None,
        checkpoints: bool = False,
    ) -> None:
        self.folder, self.checkpoints = Path(save_dir), checkpoints
        super().__init__(
            repo=repo,
            experiment=experiment,
            run_name=f"{self.folder.parent.name}/{self.folder.name}",
            run_hash=self.remembered(),
            system_tracking_interval=None,
            log_system_params=False,
            capture_terminal_logs=False,
            context_prefixes={},
        )

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.tried(lambda: super(RunAim, self).log_metrics(metrics, step))

    def keep_config(self, config: Mapping[str, Any]) -> None:
        self.log_hyperparams(dict(config))
        self.remember(self.experiment.hash)

    def keep_score(self, score: Mapping[str, float]) -> None:
        self.experiment.set("score", dict(score), strict=False)

    def keep_file(self, path: Path) -> None:
        run = self.experiment
        if not run.artifacts_uri:
            run.set_artifacts_uri(f"file://{Path(run.repo.path).resolve()}/artifacts")
        if path.is_dir():
            run.log_artifacts(str(path), name=path.name)
        else:
            run.log_artifact(str(path), name=path.name)
