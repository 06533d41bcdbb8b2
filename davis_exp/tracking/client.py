"""What the wandb client is asked for, so that a server in trouble never takes a job down with it."""

import logging
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.data.artifact import has_key
from davis_exp.tracking import agent
from davis_exp.utils.errors import brief

if TYPE_CHECKING:
    from wandb import Run, Settings

log = logging.getLogger(__name__)

OFFLINE_RUN = re.compile(
    r"(?:offline-)?run-(?P<when>[0-9_]+)-(?P<id>[\w-]{1,64})"
)  # the client's folders of runs


def mode(wanted: str = "auto") -> str:
    """online, offline or whatever WANDB_MODE says; "auto" is online where there is a key."""
    wanted = os.environ.get("WANDB_MODE") or wanted
    return ("online" if has_key() else "offline") if wanted == "auto" else wanted


def start(mode: str, folder: Path, *, patience: float, **wanted: Any) -> "Run":
    """A run that is kept in `folder`/wandb; offline where the server cannot be had online. Says which it is.

    `patience` is for how many seconds the server may keep us waiting, now and at the end; `wanted` is for
    `wandb.init`. A folder that holds a run already, of either kind, goes on with it.
    """
    import wandb

    if mode == "online":
        # Where there is no server, the client waits in silence.
        log.info(
            "W&B: asking the server for a run, for about %g s at most (logger.patience); not to wait for it: "
            "logger=csv, or WANDB_MODE=offline",
            patience,
        )
        try:
            run = online(folder, patience=patience, **wanted)
            log.info("W&B: online, %s", run.url)
            return run
        except Exception as error:  # the client's own kinds, and what the network raises
            log.warning("W&B: the server takes no run (%s): going on offline", brief(error))
            wandb.teardown()
            mode = "offline"
    wanted |= _resumed(folder)
    run = wandb.init(mode=mode, dir=str(folder), settings=_settings(patience), **wanted)  # type: ignore[arg-type]
    if mode == "offline":
        log.info("W&B: offline, to be handed in later by: wandb sync %s", synced(run))
    return run


def online(folder: Path, *, patience: float, **wanted: Any) -> "Run":
    """As `start`, but online or not at all: raises what the client does.

    A folder that holds a run already goes on with it, and so does the run that an agent names.
    """
    import wandb

    wanted |= _resumed(folder)
    return wandb.init(mode="online", dir=str(folder), settings=_settings(patience), **wanted)


def _settings(patience: float) -> "Settings":
    import wandb

    return wandb.Settings(
        init_timeout=patience, finish_timeout=patience, finish_timeout_raises=True, quiet=True
    )


def use(run: "Run", artifacts: Iterable[str | None]) -> None:
    """Tell the server which artifacts `run` has read; what is none there (a local folder) is passed over."""
    for name in artifacts:
        if name and not run.offline and not Path(name).expanduser().exists():
            try:
                run.use_artifact(name)
            except Exception as error:
                log.warning("W&B: the use of %s is not recorded (%s)", name, brief(error))


def finish(run: "Run", code: int) -> None:
    """End a run with an exit code; where the server has not taken all of it, one line says how to hand it in."""
    try:
        run.finish(exit_code=code)
    except Exception as error:
        log.warning(
            "W&B: the server has not taken the whole run (%s); to hand it in later: wandb sync --include-online %s",
            brief(error),
            synced(run),
        )


def synced(run: "Run") -> str:
    """What `wandb sync` is given for `run`, as it can be pasted: its folder, and the offline ones that it goes on with."""
    own = Path(run.dir).parent
    before = [path for path in own.parent.glob("offline-run-*") if path.name.endswith(f"-{run.id}")]
    return shlex.join(sorted({str(own), *map(str, before)}))


def _resumed(folder: Path) -> dict[str, str]:
    """What has `wandb.init` go on with the run that an agent names, or that was last kept in `folder`; else nothing."""
    if agent.inside():
        return {"resume": "allow"}
    kept = [found for path in (folder / "wandb").glob("*") if (found := OFFLINE_RUN.fullmatch(path.name))]
    last = max(kept, key=lambda found: found["when"], default=None)
    return {"resume": "allow", "id": last["id"]} if last else {}
