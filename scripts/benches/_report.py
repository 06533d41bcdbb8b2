"""What the benches share: the machine and the versions, figures as medians with their spread, ratios, JSON."""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


class Report:
    """Prints figures and ratios as they come and keeps them for `--json`."""

    def __init__(self, bench: str, packages: Iterable[str]) -> None:
        self.content: dict[str, Any] = {"bench": bench, "machine": machine(), "versions": versions(packages)}
        self.content |= {"figures": {}, "ratios": {}}
        self.say(", ".join(f"{name} {value}" for name, value in self.content["machine"].items()))
        self.say(", ".join(f"{name} {value}" for name, value in self.content["versions"].items()))

    def say(self, line: str = "") -> None:
        print(line, flush=True)

    def figure(self, name: str, values: list[float], unit: str) -> float:
        """A figure measured several times; its median."""
        middle = statistics.median(values)
        self.content["figures"][name] = {"median": middle, "unit": unit, "rounds": values}
        self.say(f"  {name:<52}{middle:>9.3f} {unit}   ({min(values):.3f} to {max(values):.3f})")
        return middle

    def ratio(self, name: str, value: float, goal: float | None = None, *, at_least: bool = True) -> None:
        """A ratio of two figures of this run, and what it should be."""
        entry: dict[str, Any] = {"value": value}
        said = f"  {name:<52}{value:>9.2f}"
        if goal is not None:
            met = value >= goal if at_least else value <= goal
            entry |= {"goal": goal, "at_least": at_least, "met": met}
            said += f" x   ({'at least' if at_least else 'at most'} {goal:g}: {'met' if met else 'not met'})"
        self.content["ratios"][name] = entry
        self.say(said)

    def write(self, path: Path | None) -> None:
        self.content["load"] = os.getloadavg()[0]
        self.say(f"load of the machine at the end: {self.content['load']:.1f}")
        if path is not None:
            path.write_text(json.dumps(self.content, indent=1) + "\n")


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=int, default=rounds, help="each is measured so often, in turns")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return made


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> list[float]:
    """Megabytes of the GPU's memory that were in use at once since `reset_peak`; nothing where there is no GPU."""
    return [torch.cuda.max_memory_allocated() / 2**20] if torch.cuda.is_available() else []


def machine() -> Mapping[str, Any]:
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
    }


def versions(packages: Iterable[str]) -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for package in ("davis_exp", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
