"""`logger=mlflow`: Lightning's MLflow logger, and what the run has made."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger

from davis_exp.tracking.recorder import Recorder, needed

LOCAL = "sqlite:///mlflow.db"  # in the working directory, as MLflow itself has it
SERVER_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class RunMlflow(Recorder, MLFlowLogger):
    """A run in MLflow.

    Args:
        save_dir: the run's folder.
        experiment: the experiment that it belongs to.
        uri: of the server, or of a file; None: $MLFLOW_TRACKING_URI, or else mlflow.db here.
        tags: what it is found by.
        checkpoints: whether the best checkpoint is handed in.
    """

    service = "MLflow"

    def __init__(
        self,
        save_dir: str,
        experiment: str = "davis_exp",
        uri: str | None = None,
        tags: dict[str, str] | None = None,
        checkpoints: bool = False,
    ) -> None:
        needed("mlflow")
        for name, value in SERVER_TIMEOUTS.items():
            os.environ.setdefault(name, value)
        self.folder, self.checkpoints = Path(save_dir), checkpoints
        super().__init__(
            experiment_name=experiment,
            run_name=f"{self.folder.parent.name}/{self.folder.name}",
            tracking_uri=uri or os.environ.get("MLFLOW_TRACKING_URI") or LOCAL,
            tags=dict(tags or {}),
            run_id=self.remembered(),
        )

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.tried(lambda: MLFlowLogger.log_metrics(self, metrics, step))

    def finalize(self, status: str = "success") -> None:
        self.tried(lambda: MLFlowLogger.finalize(self, status))

    def keep_config(self, config: Mapping[str, Any]) -> None:
        if self.remembered() is None:  # parameters cannot be told twice
            self.log_hyperparams(dict(config))
            self.remember(str(self.run_id))

    def keep_score(self, score: Mapping[str, float]) -> None:
        told = {f"score/{name.replace('&', '_and_')}": value for name, value in score.items()}
        MLFlowLogger.log_metrics(self, told)

    def keep_file(self, path: Path) -> None:
        if path.is_dir():
            self.experiment.log_artifacts(self.run_id, str(path), path.name)
        else:
            self.experiment.log_artifact(self.run_id, str(path))
