"""Where commands that draw on frames find the labelled data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    from davis_exp.data.sequences import Source
    from davis_exp.results.pages.subject import Run

PATHS = ("root", "test_root", "artifact", "test_artifact", "path", "folder")  # keys of a data set's config


def source(truth: Path | None, run: "Run | None", path: Path) -> "Source":
    """The data set that the user names, or else the run's config. Raises BadInput where there is neither."""
    import dataclasses

    from davis_exp.config import parts
    from davis_exp.config.instantiate import make
    from davis_exp.data.loading import Loading
    from davis_exp.data.sources import open_source

    if truth is not None:
        return open_source(truth)
    if run is None or not run.config.get("data"):
        raise BadInput(
            f"{path} is no run, whose config would name its data: give the labelled data set as --truth"
        )
    loading = {field.name for field in dataclasses.fields(Loading)}
    node = parts.referred(run.config)["data"]
    if isinstance(node, dict):
        node = {key: value for key, value in node.items() if key not in loading}
    parts.check_part(node, "data", str(run.folder))
    return make(_found(node, run), "data")


def _found(node: Any, run: "Run", name: str = "") -> Any:
    """A config node with the paths in it as they led from where the run was started."""
    if isinstance(node, dict):
        return {key: _found(value, run, key) for key, value in node.items()}
    if isinstance(node, list):
        return [_found(value, run, name) for value in node]
    return str(run.find(node)) if isinstance(node, str) and name in PATHS else node
