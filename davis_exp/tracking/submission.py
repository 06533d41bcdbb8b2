"""Results → the contest's submission on W&B, in its validation and in its test phase.

Validation is two runs: `run-val` hands in the result, `val-eval` scores it with the judge's formula and hands in the
frames' scores; the path of the latter is what to paste. The test phase is one run, `run-test`, without a score.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from davis_exp.data.sequences import VideoSequence, with_masks
from davis_exp.metrics.measures import JUDGED
from davis_exp.results.check import defects, refuse
from davis_exp.results.reader import Results
from davis_exp.results.scoring import score
from davis_exp.tracking import artifacts, client
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import Progress

if TYPE_CHECKING:
    from wandb import Artifact, Run, Table

log = logging.getLogger(__name__)

Phase = Literal["validation", "test"]
COLUMNS = ("out", "target", "iou_score")
BOTH_EMPTY = (
    -1.0
)  # the contest's score of a frame without object in truth and prediction; left out of the mean


@dataclass(frozen=True)
class Target:
    """Where a submission goes, and for how many seconds the server may take in each part of it."""

    project: str
    entity: str | None = None
    aliases: list[str] = field(default_factory=list)
    patience: float = 600.0


@dataclass(frozen=True)
class Submission:
    """Results that were found to be in order.

    Attributes:
        results: what is handed in.
        phase: of the contest.
        sequences: the labelled clips that were scored; none in the test phase.
        scored: as score.json; empty in the test phase.
    """

    results: Results
    phase: Phase
    sequences: Sequence[VideoSequence]
    scored: dict[str, Any]

    @property
    def costs(self) -> dict[str, Any]:
        """nparams, and nflops where it is known."""
        metadata = self.results.metadata
        return {key: metadata[key] for key in ("nparams", "nflops") if metadata.get(key) is not None}

    @property
    def metrics(self) -> dict[str, float]:
        """The contest's metric under both its names; empty in the test phase."""
        value = JUDGED.figure(self.scored)
        return {} if value is None else dict.fromkeys(JUDGED.mean_keys, value)

    def result_name(self, entity: str) -> str:
        return artifacts.result_name(
            artifacts.model_of(self.results), entity, "run-test" if self.phase == "test" else None
        )


def prepare(
    path: Path,
    phase: Phase,
    sequences: Sequence[VideoSequence] | None,
    *,
    limit: int | None,
    workers: int = 2,
    progress: Progress | None = None,
) -> Submission:
    """The submission that the results at `path` make, scored where the phase asks for it.

    Raises BadInput for whatever `check` finds wrong with them, and in the validation phase without labelled clips.
    """
    if phase == "validation" and not sequences:
        raise BadInput(
            "the validation phase is scored: give the labelled data set by --data (or --phase test)"
        )
    refuse(path, defects(path, sequences, limit=limit, workers=workers, progress=progress))
    results = Results.open(path)
    if results.plain:
        raise BadInput(f"{path}: masks without paths.json and metadata.json (nparams) are no submission")
    if phase == "test" or sequences is None:
        return Submission(results, phase, [], {})
    return Submission(
        results, phase, sequences, score(results, sequences, workers=workers, progress=progress)
    )


def plan(submission: Submission, target: Target) -> list[str]:
    """What `send` would do, line by line."""
    entity = target.entity or "<your entity>"
    name = submission.result_name(entity)
    metadata = submission.results.metadata
    costs = ", ".join(f"{key} {value:,}" for key, value in submission.costs.items())
    aliases = ", ".join(["latest", *artifacts.result_aliases(metadata, target.aliases)])
    job = "run-test" if submission.phase == "test" else "run-val"
    lines = [
        f"to {entity}/{target.project}:",
        f"  run {job}: {costs}",
        f"    artifact {name} (type result; {aliases}): {len(submission.results.paths)} masks",
    ]
    if submission.phase == "validation":
        shown = ", ".join(f"{key} {value:.4f}" for key, value in submission.metrics.items())
        frames = sum(map(len, submission.sequences))
        lines += [
            f"  run val-eval: {shown}",
            f"    artifact {artifacts.name_of(name, 'submission')} (type submission): table val-eval-data, "
            f"{frames} frames",
        ]
    return lines


def send(submission: Submission, target: Target) -> str:
    """Hand it in; returns the path of the run to paste (entity/project/run).

    Raises BadInput without a key; whatever the client raises where the server does not take it: nothing is lost,
    and it can be sent again.
    """
    if client.mode() != "online":
        raise BadInput(
            "cannot hand in offline: `wandb login`, or set WANDB_API_KEY (and not WANDB_MODE); "
            "--dry-run shows what would be sent"
        )
    with _run(target, "run-test" if submission.phase == "test" else "run-val") as run:
        name = submission.result_name(run.entity)
        run.log(submission.costs)
        aliases = artifacts.result_aliases(submission.results.metadata, target.aliases)
        sent = artifacts.send(run, artifacts.result(submission.results, name), aliases, target.patience)
        path = run.path
    if submission.phase == "test":
        return path
    with _run(target, "val-eval") as run:
        run.use_artifact(f"{run.entity}/{run.project}/{sent}")
        table = _table(submission)
        run.log({**submission.metrics, **submission.costs})
        artifacts.send(run, _submission(submission, name, table), target.aliases, target.patience)
        run.log({"val-eval-data": table})
        return run.path


@contextlib.contextmanager
def _run(target: Target, job_type: str) -> Iterator["Run"]:
    """An online run, ended with exit code 0 or 1."""
    with tempfile.TemporaryDirectory(
        prefix="davis_exp_"
    ) as folder:  # results stay where they are: nothing to keep
        run = client.online(
            Path(folder),
            patience=target.patience,
            project=target.project,
            entity=target.entity,
            job_type=job_type,
        )
        try:
            yield run
        except BaseException:
            with contextlib.suppress(Exception):
                run.finish(exit_code=1)
            raise
        run.finish(exit_code=0)


def _submission(submission: Submission, result: str, table: "Table") -> "Artifact":
    import wandb

    metadata = {**artifacts.described(submission.results.metadata), **submission.metrics}
    artifact = wandb.Artifact(artifacts.name_of(result, "submission"), type="submission", metadata=metadata)
    artifact.add(table, "val-eval-data")
    return artifact


def _table(submission: Submission) -> "Table":
    """Each frame's mask, true mask and IoU, in the data set's order."""
    import wandb
    from PIL import Image

    results = submission.results
    table = wandb.Table(columns=[*COLUMNS])
    for sequence in map(with_masks, submission.sequences):
        ious = submission.scored["sequences"][sequence.name]["raw"][JUDGED.key]
        for i, index in enumerate(sequence.index):
            content = results.storage.read(results.paths[index], artifacts.RESULT_LIMIT)
            with Image.open(io.BytesIO(content)) as mask:
                out = wandb.Image(mask)
            target = wandb.Image(Image.fromarray(sequence.mask(i) * 255))
            table.add_data(out, target, BOTH_EMPTY if ious[i] is None else ious[i])
    return table
