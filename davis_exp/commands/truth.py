"""Where commands that draw on frames find the labelled data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.errors import BadInput

if TYPE_CHECKING:
    from davis_exp.data.sequences import Source
    from davis_exp.results.pages.subject import Run


def source(truth: Path | None, run: "Run | None", path: Path) -> "Source":
    """The data set that the user names, or else the run's config. Raises BadInput where there is neither."""
    import dataclasses

    from omegaconf import OmegaConf

    from davis_exp.data.loading import Loading
    from davis_exp.data.sources import open_source
    from davis_exp.instantiate import make, plain

    if truth is not None:
        return open_source(truth)
    if run is None or not run.config.get("data"):
        raise BadInput(
            f"{path} is no run, whose config would name its data: give the labelled data set as --truth"
        )
    loading = {field.name for field in dataclasses.fields(Loading)}
    node = plain(OmegaConf.create(run.config).data)
    node = {key: value for key, value in node.items() if key not in loading}
    return make(_from(node, run.directory), "data")


def _from(node: Any, directory: Path) -> Any:
    """A config node with the relative paths in it that are not here, but where the run was started, found there."""
    if isinstance(node, dict):
        return {key: _from(value, directory) for key, value in node.items()}
    if isinstance(node, list):
        return [_from(value, directory) for value in node]
    moved = isinstance(node, str) and "/" in node and not Path(node).exists() and (directory / node).exists()
    return str(directory / node) if moved else node
