"""The results folder, written while the model is being tested."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from davis_exp.results.artifact import ResultsWriter


class ResultsArtifact(pl.Callback):
    """Writes every test mask into `folder` (DESIGN: outputs/*.png, paths.json, metadata.json), whole or not at all.

    Args:
        folder: where the results folder appears once the test has gone through.
        metadata: what is known before (nparams, nflops, digests); the writer adds the frames.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        self.folder = folder
        self.metadata = metadata
        self._writer: ResultsWriter | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._writer = ResultsWriter(self.folder)
        pl_module.mask_sink = self._writer.add  # type: ignore[assignment]

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.mask_sink = None  # type: ignore[assignment]
        if self._writer is not None:
            self._writer.close(self.metadata)
            self._writer = None

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
