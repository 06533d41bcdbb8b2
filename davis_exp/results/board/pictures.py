"""Frames with a run's masks on them, drawn when they are asked for, or ahead for a page that stands alone."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from davis_exp.data.sequences import Source, VideoSequence
from davis_exp.results.artifact import Results
from davis_exp.results.board.content import WORST, best_first
from davis_exp.results.board.entry import Entry
from davis_exp.results.check import refuse
from davis_exp.results.matching import match
from davis_exp.results.pages.frames import bare, still
from davis_exp.results.pages.subject import Run, Subject, truth_of
from davis_exp.utils.errors import BadInput
from davis_exp.utils.parallel import Progress

OPENED = 24  # runs whose results are kept open
SIZE = 4_000_000  # bytes of the pictures in a page that stands alone
BESIDE, ACROSS, CLIPS = 4, 16, 24  # runs and clips that have pictures there: across for the worst frame


class Pictures:
    """Stills of runs.

    Args:
        source: the labelled data set that a run was tested on. Raises BadInput where it is not to be had.
    """

    def __init__(self, source: Callable[[Run, Path], Source]) -> None:
        self.source = source
        self.opened: OrderedDict[Path, tuple[Subject, dict[str, tuple[VideoSequence, int]]]] = OrderedDict()
        self.sequences: dict[str, list[VideoSequence]] = {}
        self.lock = threading.Lock()

    def still(self, folder: Path, frame: str) -> str:
        """A frame with truth and mask as a data URI; the mask alone where the data set is gone. Raises BadInput."""
        with self.lock:
            if folder not in self.opened:
                self.opened[folder] = self._open(folder)
            self.opened.move_to_end(folder)
            while len(self.opened) > OPENED:
                self.opened.popitem(last=False)
            subject, places = self.opened[folder]
            if frame in places:
                return still(*places[frame], subject)[0]
            index = dict(zip(subject.results.frames or (), subject.results.paths, strict=False)).get(frame)
            if index is None:
                raise BadInput(f"the results have no frame {frame}")
            return bare(subject.results.confidence(index))

    def _open(self, folder: Path) -> tuple[Subject, dict[str, tuple[VideoSequence, int]]]:
        results = Results.open(folder)
        try:
            sequences = self._sequences(folder, results)
            matched = match(results, sequences)
            refuse(results.path, matched.defects)
        except BadInput:
            return Subject(folder.name, {}, results, {}), {}
        places = {
            frame: (sequence, i) for sequence in sequences for i, frame in enumerate(sequence.frame_ids)
        }
        return Subject(folder.name, {}, results, matched.indices), places

    def _sequences(self, folder: Path, results: Results) -> list[VideoSequence]:
        """The clips that results are of, looked up once for all runs on the same data."""
        run = Run.of(folder)
        if run is None:
            raise BadInput(f"{folder} has no config")
        key = json.dumps([run.config.get("data"), str(run.directory), results.frames], default=str)
        if key not in self.sequences:
            self.sequences[key] = truth_of(self.source(run, folder), results)
        return self.sequences[key]


def embedded(
    entries: Sequence[Entry],
    clips: Sequence[Mapping[str, Any]],
    pictures: Pictures,
    progress: Progress | None = None,
) -> tuple[dict[str, str], int]:
    """Stills of the worst cells, for a page that stands alone: "run, line break, frame" → data URI; and their bytes.

    The clips that go worst have theirs first: the frame that is worst for all, of the best runs; then the next.
    """
    ordered = best_first(entries)
    places = {entry.name: i for i, entry in enumerate(entries)}
    wanted: dict[tuple[str, str], Entry] = {}
    for rank in range(WORST):
        for clip in clips[:CLIPS]:
            tested = set(clip["runs"])
            able = [entry for entry in ordered if places[entry.name] in tested]
            for entry in able[: BESIDE if rank else ACROSS]:
                for frame in clip["frames"][rank : rank + 1]:
                    wanted[entry.name, frame] = entry
    made: dict[str, str] = {}
    size = 0
    for position, ((name, frame), entry) in enumerate(wanted.items()):
        if progress:
            progress(position, len(wanted))
        try:
            picture = pictures.still(entry.folder, frame)
        except BadInput:  # its results are gone: the page says that there is none
            continue
        if size + len(picture) > SIZE:
            break
        made[f"{name}\n{frame}"] = picture
        size += len(picture)
    return made, size
