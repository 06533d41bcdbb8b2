"""What `train` and `test` share: a tested model → results folder → score.json and a table on the screen."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from davis_exp.experiment.experiment import Experiment
from davis_exp.metrics.measures import JUDGED, OVERALL
from davis_exp.results.artifact import Results
from davis_exp.results.confidence import confidences, foretold
from davis_exp.results.scoring import score
from davis_exp.results.table import score_table
from davis_exp.runs import confidence
from davis_exp.runs import score as scores
from davis_exp.tracking.artifacts import headline
from davis_exp.tracking.recorder import Recorder
from davis_exp.utils import distributed, terminal

log = logging.getLogger(__name__)

SHOWN = 3  # frames that are named as those to look at first


def evaluate(run: Experiment, checkpoint: Path | None) -> dict[str, Any] | None:
    """Runs the test sequences through the model, whose weights are those of `checkpoint`.

    Writes `results` and `confidence.json` into the run's folder and, where masks exist, `score.json`; returns the score,
    or None where the test sequences have no masks, and in every rank but the first. Raises BadInput for unreadable data.
    """
    from davis_exp.training.callbacks.results import ResultsArtifact

    trainer, data, folder = run.trainer, run.data, run.output / "results"
    metadata = run.metadata(checkpoint) | {
        "created": datetime.now().isoformat(timespec="seconds"),
        "dataset": type(data.source).__name__.removesuffix("Source").lower(),
    }
    trainer.callbacks.append(ResultsArtifact(folder, metadata))  # type: ignore[attr-defined]
    trainer.test(run.task, datamodule=data, verbose=False)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not distributed.is_main():
        return None
    results = Results.open(folder)
    log.info("results: %d masks in %s", len(results.paths), folder)

    sequences = data.test_sequences
    trusted = confidences(results, sequences)
    confidence.write(run.output, trusted)
    log.info("to look at first: %s", "; ".join(confidence.said(trusted, SHOWN)))
    if not all(sequence.labelled for sequence in sequences):
        log.info("score: none, the test sequences have no masks")
        _hand_in(run, {})
        return None
    scored = score(results, sequences)
    scores.write(run.output, scored)
    _hand_in(run, headline(scored))
    if sentence := foretold(trusted, scored):
        log.info("%s", sentence)
    narrow = score_table(scored, [JUDGED.protocols[0], OVERALL.protocols[0]])
    log.info("%s", score_table(scored), extra=terminal.shown(narrow.rich))
    return scored


def _hand_in(run: Experiment, figures: dict[str, float]) -> None:
    for logger in run.trainer.loggers:
        if isinstance(logger, Recorder):
            logger.hand_in(figures)
