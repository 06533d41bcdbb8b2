"""What a run has made → W&B artifacts, under the contest's names and types."""

import json
import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.metrics.measures import JUDGED, columns
from davis_exp.results.reader import METADATA, PATHS, Results
from davis_exp.results.storage import relative
from davis_exp.utils.errors import BadInput, brief

if TYPE_CHECKING:
    from wandb import Artifact, Run

    from davis_exp.tracking.settings import Settings

log = logging.getLogger(__name__)

MODEL_FILE = "final_model"  # the contest's name for the only file of a `trained-model`
RESULT_LIMIT = 2**24  # bytes of one file of a result


def name_of(*words: str) -> str:
    """An artifact's name: words joined by "-", of the characters that W&B allows."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(words))[:128]


def model_of(results: Results) -> str:
    """The name of the model that has made `results`."""
    return str(results.metadata.get("model") or results.path.name)


def result_name(model: str, entity: str, job_type: str | None) -> str:
    """Of a result: <model>-result; for the test phase test-result-<entity>."""
    return name_of("test-result", entity) if job_type == "run-test" else name_of(model, "result")


def described(metadata: dict[str, Any]) -> dict[str, Any]:
    """A result's metadata for its artifact: all but the list of frames, which its own file holds."""
    return {key: value for key, value in metadata.items() if key != "frames"}


def result(results: Results, name: str) -> "Artifact":
    """The artifact of a results folder or zip: the files that it names, and no stale ones."""
    import wandb

    artifact = wandb.Artifact(name, type="result", metadata=described(results.metadata))
    for file in [PATHS, METADATA, *results.paths.values()]:
        with artifact.new_file(relative(file), mode="wb") as target:
            target.write(results.storage.read(file, RESULT_LIMIT))
    return artifact


def result_aliases(metadata: dict[str, Any], wanted: Sequence[str]) -> list[str]:
    """The aliases of a result besides "latest": the user's own, and which config has made it."""
    digest = str(metadata.get("config_digest") or "")[:12]
    return [*wanted, *([f"config-{digest}"] if digest else [])]


def headline(score: dict[str, Any]) -> dict[str, float]:
    """Of a score.json what a table of runs is to show: each measure; the contest's metric under both its names."""
    found = {
        key if measure is JUDGED else f"{measure.protocols[0]}/{key}": measure.figure(score)
        for measure in columns([score])
        for key in measure.mean_keys
    }
    return {key: value for key, value in found.items() if value is not None}


def hand_in_results(run: "Run", folder: Path, settings: "Settings") -> None:
    """Send the results in `folder`, if there are any; where that fails, one line says how to do it later."""
    if not (folder / PATHS).is_file():
        return
    later = f"to hand them in: davis-exp submit {shlex.quote(str(folder))} --data TRUTH (or --phase test)"
    if run.offline:
        log.info("W&B: offline, the results stay in %s; %s", folder, later)
        return
    try:
        results = Results.open(folder)
        run.log({key: results.metadata[key] for key in ("nparams", "nflops") if results.metadata.get(key)})
        artifact = result(results, result_name(model_of(results), run.entity, settings.job_type))
        send(run, artifact, result_aliases(results.metadata, settings.aliases), settings.patience)
    except Exception as error:
        log.warning("W&B: the results are not on the server (%s); %s", brief(error), later)


def hand_in_checkpoint(run: "Run", checkpoint: Path, model: str, settings: "Settings") -> None:
    """Send the best checkpoint as <model>, of type `trained-model`; it stays where it is, too."""
    import wandb

    if not checkpoint.is_file():
        return
    if run.offline:
        log.info("W&B: offline, the checkpoint stays at %s", checkpoint)
        return
    try:
        nparams = run.summary.get("nparams")
        artifact = wandb.Artifact(name_of(model), type="trained-model", metadata={"nparams": nparams})
        artifact.add_file(str(checkpoint), MODEL_FILE, policy="immutable")
        send(run, artifact, ["best"], settings.patience)
    except Exception as error:
        log.warning("W&B: the checkpoint is not on the server (%s); it is at %s", brief(error), checkpoint)


def send(run: "Run", artifact: "Artifact", aliases: Sequence[str], patience: float) -> str:
    """Log `artifact` and wait until the server has it whole; returns its name with version.

    Raises whatever the client does where the server refuses it or takes more than `patience` seconds.
    """
    logged = run.log_artifact(artifact, aliases=["latest", *aliases])
    logged.wait(timeout=int(patience) or 1)
    log.info("W&B: %s %s", artifact.type, logged.qualified_name)
    return logged.name


def split_table(root: Path, sequences: Sequence[Any]) -> dict[str, dict[str, str]]:
    """A `paths.json` of sequences whose files lie below `root`, paths relative to it.

    Raises BadInput where a frame is no such file.
    """
    table: dict[str, dict[str, str]] = {"raw": {}}
    base = root.resolve()
    for sequence in sequences:
        for i, index in enumerate(sequence.index):
            mask = next(iter(sequence.mask_files(i)), None)
            for column, file in (("raw", sequence.frame_file(i)), ("annotation", mask)):
                if file is None and column == "annotation":
                    continue
                if file is None or not file.resolve().is_relative_to(base):
                    raise BadInput(
                        f"{sequence.frame_ids[i]} is no file below {root}: the split cannot be logged"
                    )
                table.setdefault(column, {})[str(index)] = file.resolve().relative_to(base).as_posix()
    return table


def hand_in_split(
    run: "Run",
    root: Path,
    source: str,
    parts: Mapping[str, Sequence[Any]],
    metadata: dict[str, Any],
    patience: float,
) -> None:
    """Log each part ("train", "holdout") of a split of the artifact `source`, of type `split-data`."""
    import wandb

    if run.offline:
        return
    stem = source.rpartition("/")[2].partition(":")[0].removesuffix("-train")
    try:
        for part, sequences in parts.items():
            described = {**metadata, "source": source, "clips": [s.name for s in sequences]}
            artifact = wandb.Artifact(name_of(stem, "split", part), type="split-data", metadata=described)
            with artifact.new_file(PATHS) as file:
                json.dump(split_table(root, sequences), file)
            send(run, artifact, [], patience)
    except Exception as error:
        log.warning("W&B: the split is not on the server (%s)", brief(error))
