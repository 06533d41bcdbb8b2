"""metrics.csv in the run's folder."""

import csv
import io
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.loggers.logger import rank_zero_experiment

from davis_exp.utils import given, written
from davis_exp.utils.errors import BadInput

METRICS = "metrics.csv"


def forget_after(folder: Path, steps: int) -> None:
    """Take out of metrics.csv in `folder` what was logged after so many optimizer steps: it will be logged again."""
    path = folder / METRICS
    if not path.is_file():
        return
    try:
        header, *rows = csv.reader(io.StringIO(given.read_text(path), newline=""))
        at = header.index("step")
    except (ValueError, csv.Error, BadInput):  # no table of ours
        path.unlink()
        return
    kept = [row for row in rows if len(row) == len(header) and row[at].isdecimal() and int(row[at]) < steps]
    if not kept:
        path.unlink()
        return
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *kept])
    written.write_text(path, text.getvalue())


class MetricsCsv(CSVLogger):
    """Lightning's CSV logger, but in the run's own folder, and going on where a resumed run stopped.

    Args:
        save_dir: the run's folder.
        flush_logs_every_n_steps: how often the file is written.
    """

    def __init__(self, save_dir: str, flush_logs_every_n_steps: int = 50) -> None:
        super().__init__(save_dir, name="", version="", flush_logs_every_n_steps=flush_logs_every_n_steps)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            self._experiment = _Appending(self.log_dir)
        return self._experiment  # type: ignore[return-value]


class _Appending(ExperimentWriter):
    def _check_log_dir_exists(self) -> None:  # Lightning's own deletes the file that it finds
        if self._fs.isfile(self.metrics_file_path):
            with self._fs.open(self.metrics_file_path, "r", newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
