"""Artifacts of W&B → folders on disk: downloaded once, checked, gone on with after an interruption.

Who a run belongs to, and all that is sent, is tracking's affair.
"""

import fcntl
import json
import logging
import netrc
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from davis_exp.utils.errors import BadInput, brief

if TYPE_CHECKING:
    from wandb import Artifact

log = logging.getLogger(__name__)

VERSIONS = "versions.json"  # what each alias was when it was last asked for
NAME = re.compile(  # an alias is a must, and nothing may begin with a dot: a mistyped folder is none
    r"(?P<entity>\w[\w.-]*)/(?P<project>\w[\w. -]*)/(?P<collection>\w[\w.-]*):(?P<alias>\w[\w.-]*)", re.ASCII
)


def has_key() -> bool:
    """Whether the client would find a key: in the environment or in ~/.netrc (where `wandb login` puts it)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        hosts = netrc.netrc(Path(os.environ.get("NETRC", Path.home() / ".netrc"))).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)


class _Name(NamedTuple):
    entity: str
    project: str
    collection: str
    alias: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.collection}:{self.alias}"


def fetch(artifact: str, keep: Path) -> Path:
    """The folder that holds `artifact`: a local folder as it is, else downloaded below `keep`.

    A version is downloaded once, whoever asks at the same time; what an interrupted download has is kept, and every
    file is held against its digest. Where the server cannot be asked what an alias stands for, the version that it
    stood for last is used, with a warning.

    Args:
        artifact: "entity/project/name:alias", or a folder.
        keep: gets <entity>/<project>/<name>/<version>/.

    Raises:
        BadInput: no such folder or artifact, no key, or a download that failed.
    """
    local = Path(artifact).expanduser()
    if local.is_dir():
        return local
    name = _parsed(artifact)
    home = keep / name.entity / name.project / name.collection
    if re.fullmatch(r"v\d+", name.alias) and (home / name.alias).is_dir():
        return home / name.alias  # a version never changes
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _known(home)
        try:
            found = _ask(name)
        except Exception as error:
            last = home / known.get(name.alias, "-")
            if not last.is_dir():
                raise BadInput(
                    f"{name} cannot be had ({brief(error)}): check its name, or give a folder"
                ) from error
            log.warning("W&B: cannot ask what %s is now (%s): using %s", name, brief(error), last.name)
            return last
        folder = home / found.version
        if not folder.is_dir():
            _download(found, name, folder)
        (home / VERSIONS).write_text(json.dumps(known | {name.alias: found.version}))
        return folder


def looks_like_one(text: str) -> bool:
    """Whether `text` can be an artifact's name, with its alias, and is no folder."""
    return bool(NAME.fullmatch(text)) and not Path(text).expanduser().exists()


def _parsed(text: str) -> _Name:
    match = NAME.fullmatch(text)
    if match is None:
        raise BadInput(f"no folder {text}, and no artifact's name, which is entity/project/name:alias")
    return _Name(**match.groupdict())


def _ask(name: _Name) -> "Artifact":
    if not has_key():
        raise BadInput("no W&B key: `wandb login`, or WANDB_API_KEY")
    import wandb

    return wandb.Api().artifact(str(name))


def _download(artifact: "Artifact", name: _Name, folder: Path) -> None:
    part = folder.with_name(f".{folder.name}.part")
    log.info("W&B: downloading %s (%s, %d files) to %s", name, folder.name, artifact.file_count, folder)
    try:
        artifact.download(root=str(part), skip_cache=True)
    except Exception as error:
        raise BadInput(
            f"download of {name} failed ({brief(error)}): run the same command to continue it"
        ) from error
    try:
        artifact.verify(root=str(part))
    except (ValueError, OSError) as error:
        shutil.rmtree(part)  # the client remembers what it has downloaded as right
        raise BadInput(
            f"{name} came with a wrong digest ({brief(error)}) and was removed: try again"
        ) from error
    part.rename(folder)


def _known(home: Path) -> dict[str, str]:
    try:
        return json.loads((home / VERSIONS).read_text())
    except (OSError, ValueError):
        return {}
