"""Which layout a data set has, and what its names say."""

from pathlib import Path

from davis_exp.data.check.contest import survey_contest
from davis_exp.data.check.davis import survey_davis
from davis_exp.data.check.findings import Survey
from davis_exp.data.check.folders import survey_source
from davis_exp.data.sources import open_source
from davis_exp.data.sources.contest import TABLE
from davis_exp.utils.errors import BadInput


def survey(path: str | Path, masks: str = "auto", void: int | None = 255) -> Survey:
    """Survey the data set at `path`; its layout is told as `open_source` tells it, which takes the same arguments.

    Raises BadInput if there is none, or its folders cannot be listed.
    """
    root = Path(path).expanduser()
    found = Survey(root)
    tables = [folder for folder in (root, root / "train", root / "test") if (folder / TABLE).is_file()]
    try:
        if tables:
            for folder in tables[:1] if tables[0] == root else tables:
                survey_contest(folder, found)
        elif (root / "ImageSets").is_dir() and not (root / "GroundTruth").is_dir():
            survey_davis(found)
        else:
            _survey_other(path, root, found, masks, void)
    except OSError as error:
        raise BadInput(f"{error.filename or root} cannot be read: {error.strerror}") from error
    return found


def _survey_other(path: str | Path, root: Path, found: Survey, masks: str, void: int | None) -> None:
    try:
        source = open_source(path, masks, void)
    except BadInput:
        if not (root / "JPEGImages").is_dir():
            raise
        survey_davis(found)  # which lacks its lists
        return
    survey_source(source, found)
