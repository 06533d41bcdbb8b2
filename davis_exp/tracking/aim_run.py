"""Aim's own logger for Lightning, and what the run has made. Imports Aim, which need not be installed."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aim.pytorch_lightning import AimLogger

from davis_exp.tracking.recorder import Recorder


class RunAim(Recorder, AimLogger):
    """A run in an Aim repository; the arguments are those of `davis_exp.tracking.aim.aim_logger`."""

    service = "Aim"

    def __init__(
        self,
        save_dir: str,
        experiment: str,
        repo: str | None,
        checkpoints: bool,
    ) -> None:
        # It tells of its own threads and locks, which going on with a run after its training has it release.
        logging.getLogger("aim").setLevel(logging.ERROR)
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
        self.tried(lambda: AimLogger.log_metrics(self, metrics, step))

    def finalize(self, status: str = "") -> None:
        AimLogger.finalize(self, status)

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
