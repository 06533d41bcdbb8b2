"""What is said of W&B in a config."""

from dataclasses import dataclass, field
from typing import Literal

from omegaconf import DictConfig, OmegaConf


@dataclass(frozen=True)
class Settings:
    """What conf/logger/wandb.yaml says.

    Attributes:
        project, entity: whose run it is; the entity is the key's own unless given.
        group, tags: what it is found by.
        job_type: None takes the contest's, by command; run-test for results of unlabelled clips.
        mode: auto goes online where there is a key. WANDB_MODE in the environment wins.
        checkpoints: whether the best checkpoint is handed in, as an artifact of type `trained-model`.
        aliases: of the result artifact, besides "latest" and the config's digest.
        patience: seconds that the server has for taking in a run, an artifact, and the end of a run.
    """

    project: str = "davis_exp"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    job_type: str | None = None
    mode: Literal["auto", "online", "offline"] = "auto"
    checkpoints: bool = False
    aliases: list[str] = field(default_factory=list)
    patience: float = 90.0


def patience(cfg: DictConfig) -> float:
    """Seconds that the end of a job may take for its logger's sake, however it ends; 0 for one that asks for none."""
    given = OmegaConf.select(cfg, "logger.patience", throw_on_resolution_failure=False)
    return float(given) if isinstance(given, int | float) else 0.0
