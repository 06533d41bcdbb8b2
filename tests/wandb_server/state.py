"""What the server knows: runs, artifacts, sweeps."""

import base64
import itertools
import json
import random
from dataclasses import dataclass, field
from typing import Any

import yaml

ENTITY = "tester"


@dataclass
class Run:
    """What the server knows of a run."""

    id: str
    entity: str
    project: str
    name: str
    sweep: str | None
    groups: dict[str, Any]  # jobType, groupName, tags
    config: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, dict[int, str]] = field(default_factory=dict)  # file → line number → line
    files: dict[str, bytes] = field(default_factory=dict)
    complete: bool = False
    exitcode: int | None = None

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def values(self) -> dict[str, Any]:
        """The config without W&B's own wrapping."""
        return {key: entry["value"] for key, entry in self.config.items()}

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for _, line in sorted(self.streams.get("wandb-history.jsonl", {}).items())]

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.streams.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)]) if lines else {}

    @property
    def state(self) -> str:
        if not self.complete:
            return "running"
        return "finished" if self.exitcode == 0 else "failed"


@dataclass
class Artifact:
    """One version of an artifact."""

    id: str
    project: str  # entity/project
    collection: str
    type: str
    digest: str
    metadata: dict[str, Any]
    run: str
    wanted: list[str]
    blobs: dict[str, bytes]  # the server's, by md5 in hexadecimal
    state: str = "PENDING"
    version: int | None = None
    aliases: set[str] = field(default_factory=set)
    manifest: bytes = b""

    @property
    def contents(self) -> dict[str, dict[str, Any]]:
        return json.loads(self.manifest)["contents"]

    def content(self, path: str) -> bytes:
        return self.blobs[base64.b64decode(self.contents[path]["digest"]).hex()]


class Sweep:
    """A sweep's configuration and the jobs that are left of it."""

    def __init__(self, id: str, project: str, config: str) -> None:
        self.id, self.project, self.config = id, project, config
        self.queue = [(f"{id}run{i}", cell) for i, cell in enumerate(self._cells(yaml.safe_load(config)))]

    @staticmethod
    def _cells(config: dict[str, Any]) -> list[dict[str, Any]]:
        names, rows = list(config["parameters"]), []
        options = [_options(parameter) for parameter in config["parameters"].values()]
        if config["method"] == "grid":
            rows = list(itertools.product(*options))
        else:
            draw = random.Random(0)
            rows = [[draw.choice(o) for o in options] for _ in range(config.get("run_cap", 4))]
        return [{name: {"value": v} for name, v in zip(names, row, strict=True)} for row in rows]


def _options(parameter: dict[str, Any]) -> list[Any]:
    if "value" in parameter:
        return [parameter["value"]]
    if "values" in parameter:
        return parameter["values"]
    if "parameters" in parameter:  # nested ones arrive as one dictionary
        nested = parameter["parameters"]
        rows = itertools.product(*map(_options, nested.values()))
        return [dict(zip(nested, row, strict=True)) for row in rows]
    low, high = parameter["min"], parameter["max"]
    return [low, low + (high - low) / 2 if isinstance(low, float) else (low + high) // 2, high]
