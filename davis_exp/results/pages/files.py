"""Pages as files: one of ours is made anew without asking, since nothing in it is anybody's work; no other file is."""

from pathlib import Path

from davis_exp.results.pages.markup import GENERATOR, POLICY
from davis_exp.utils.errors import BadInput

HEAD = 2048  # bytes of a page in which it says who made it


def refuse_other(path: Path, option: str, *, overwrite: bool) -> None:
    """Raises BadInput if a page cannot go to `path`, which `option` names: a folder, or a file that is no page of ours."""
    if path.is_dir():
        raise BadInput(f"{option} {path} is a folder: give a file")
    if path.is_file() and not overwrite and not _ours(path):
        raise BadInput(
            f"{path} is there already, and is no page of davis-exp; choose another {option}, or --overwrite"
        )


def _ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
            return GENERATOR.encode() in head or POLICY.encode() in head  # pages once named no generator
    except OSError:
        return False
