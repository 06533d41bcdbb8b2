"""Where sequences come from. (`generated` is imported where it is used: it needs OpenCV.)"""

import inspect
from functools import cache
from pathlib import Path

from davis_exp import config
from davis_exp.data.sequences import Source
from davis_exp.data.sources.contest import TABLE, ContestSource
from davis_exp.data.sources.davis import DavisSource
from davis_exp.data.sources.folders import FolderSource
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

__all__ = ["ContestSource", "DavisSource", "FolderSource", "open_source"]

GENERAL = "folders"  # the layout that is tried last


def open_source(path: str | Path, masks: str = "auto", void: int | None = 255) -> Source:
    """The data set at `path`, its layout told by what is there, or said in front of it, as "davis2017:data/DAVIS".

    A folder with `paths.json` is a contest data set (the same clips for both stages); one with
    `train/paths.json` or `test/paths.json` is a pair of them, as `davis-exp data export` writes; one with
    ImageSets is in DAVIS layout; any other is held against the layouts of conf/data. `masks` and `void` say how masks
    are read, as for `MaskReader`. Raises BadInput if it is none of these.
    """
    name, colon, place = str(path).partition(":")
    if colon and not Path(path).exists() and name in layouts():
        return _as(name, place, masks, void)
    root = Path(path).expanduser()
    if (root / TABLE).is_file():
        return ContestSource(root, masks=masks, void=void)
    if (root / "train" / TABLE).is_file() or (root / "test" / TABLE).is_file():
        return ContestSource(root / "train", root / "test", masks=masks, void=void)
    segtrack = (root / "GroundTruth").is_dir()  # it has lists of another kind too
    if (root / "ImageSets").is_dir() and not segtrack:
        return DavisSource(root, masks=masks, void=void)
    for layout, based in layouts().items():
        if based and (source := _as(layout, root, masks, void)).there():
            return source
    raise BadInput(
        f"no data set at {given.shown(root)}: looked for {TABLE} (contest layout), ImageSets (DAVIS layout) and the "
        "folders of other layouts; give the folder that holds them, or say which layout it is, as <layout>:<folder> "
        f"({', '.join(layouts())})"
    )


@cache
def layouts() -> dict[str, bool]:
    """The options of conf/data that describe a layout by patterns; whether a folder is to be held against each."""
    found = {}
    for file in sorted(
        config.conf_dir().glob("data/*.yaml"), key=lambda file: (file.stem == GENERAL, file.stem)
    ):
        option = config.option("data", file.stem)
        if option.get("_target_") == f"{FolderSource.__module__}.{FolderSource.__qualname__}":
            found[file.stem] = option.get("lists") is None and option.get("objects") == "merge"
    return found


def _as(layout: str, root: str | Path, masks: str, void: int | None) -> FolderSource:
    taken = inspect.signature(FolderSource).parameters
    arguments = {key: value for key, value in config.option("data", layout).items() if key in taken}
    return FolderSource(**arguments | {"root": root, "masks": masks, "void": void})
