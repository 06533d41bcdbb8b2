"""The results folder, written while the model is being tested."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from davis_exp.results.artifact import ResultsWriter
from davis_exp.utils import distributed


class ResultsArtifact(pl.Callback):
    """Writes every test mask into `folder` (docs/architecture.md, Files: outputs/*.png, paths.json), whole or not at all.

    Each rank writes the masks of its own sequences; the first puts the folder in place when all are there.

    Args:
        folder: where the results folder appears once the test has gone through.
        metadata: what is known before (nparams, nflops, digests); the writer adds the frames.
    """

    def __init__(self, folder: Path, metadata: dict[str, Any]) -> None:
        self.folder = folder
        self.metadata = metadata
        self._writer: ResultsWriter | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        first = distributed.here().first
        own = ResultsWriter(self.folder) if first else None
        part = distributed.gathered(own.part if own else None)[0]
        self._writer = own or ResultsWriter(self.folder, part=part)
        pl_module.mask_sink = self._writer.add  # type: ignore[assignment]

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.mask_sink = None  # type: ignore[assignment]
        if self._writer is None:
            return
        _, *others = distributed.gathered(self._writer.written())
        if distributed.here().first:
            for written in others:
                self._writer.include(written)
            self._writer.close(self.metadata)
        self._writer = None

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
