"""Weights & Biases: which mode a run goes in."""

import logging
import netrc
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

log = logging.getLogger(__name__)


def has_key() -> bool:
    """Whether the W&B client would find a key: in the environment or in ~/.netrc (where `wandb login` puts it)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc(Path(os.environ.get("NETRC", Path.home() / ".netrc"))).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)


def wandb_logger(
    *,
    save_dir: str,
    project: str = "davis_exp",
    entity: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    job_type: str = "train",
    mode: str = "auto",
    **settings: Any,
) -> WandbLogger:
    """A Lightning logger that goes online where there is a key and offline where there is none, and says which.

    `WANDB_MODE` in the environment wins over `mode` ("auto", "online", "offline").
    """
    mode = os.environ.get("WANDB_MODE") or mode
    if mode == "auto":
        mode = "online" if has_key() else "offline"
    offline = mode != "online"
    log.info(
        "W&B: %s", f"offline, kept in {save_dir}/wandb (`wandb sync` hands it in)" if offline else "online"
    )
    return WandbLogger(
        project=project,
        entity=entity,
        group=group,
        tags=tags,
        job_type=job_type,
        save_dir=save_dir,
        offline=offline,
        log_model=False,
        **settings,
    )
