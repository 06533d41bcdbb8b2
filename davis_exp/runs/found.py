"""Run folders below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from davis_exp.runs.config import CONFIG
from davis_exp.runs.score import SCORE
from davis_exp.runs.status import STATUS

DEEPEST = 6  # folders below the one that is looked through
ENTRIES = 500_000  # files and folders that are looked at
MOST = 10_000  # runs


def below(root: Path) -> Iterator[Path]:
    """The folders of runs in `root`, which may be one itself, by name. Links to folders are not followed.

    What lies within a run is not looked at. Ends early after ENTRIES names or MOST runs.
    """
    looked = given = 0
    left = [(root, 0)]
    while left and looked < ENTRIES and given < MOST:
        folder, depth = left.pop()
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError:  # gone, or not ours to read
            continue
        looked += len(inside)
        names = {entry.name for entry in inside}
        if STATUS in names or SCORE in names or os.path.isfile(folder / CONFIG):
            given += 1
            yield folder
        elif depth < DEEPEST:
            below = [e for e in inside if e.name[0] != "." and e.is_dir(follow_symlinks=False)]
            left += [(folder / entry.name, depth + 1) for entry in reversed(below)]
