"""Where sequences come from. (`generated` is imported where it is used: it needs OpenCV.)"""

from pathlib import Path

from davis_exp.data.sequences import Source
from davis_exp.data.sources.contest import TABLE, ContestSource
from davis_exp.data.sources.davis import DavisSource
from davis_exp.utils.errors import BadInput

__all__ = ["ContestSource", "DavisSource", "open_source"]


def open_source(path: str | Path, masks: str = "auto", void: int | None = 255) -> Source:
    """The data set at `path`, its layout told by what is there.

    A folder with `paths.json` is a contest data set (the same clips for both stages); one with
    `train/paths.json` or `test/paths.json` is a pair of them, as `davis-exp data export` writes; one with
    ImageSets is in DAVIS layout. `masks` and `void` say how masks are read, as for `MaskReader`. Raises BadInput if it
    is none of these.
    """
    root = Path(path).expanduser()
    if (root / TABLE).is_file():
        return ContestSource(root, masks=masks, void=void)
    if (root / "train" / TABLE).is_file() or (root / "test" / TABLE).is_file():
        return ContestSource(root / "train", root / "test", masks=masks, void=void)
    if (root / "ImageSets").is_dir():
        return DavisSource(root, masks=masks, void=void)
    raise BadInput(
        f"no data set at {root}: looked for {TABLE} (contest layout) and ImageSets (DAVIS layout); give the "
        "folder that holds one of them"
    )
