"""metrics.csv: what was logged while training, read back."""

import csv
import io
import math
from pathlib import Path

from davis_exp.utils import given
from davis_exp.utils.errors import BadInput, quoted

METRICS = "metrics.csv"
LARGEST = 1e30  # of a value or step; what is larger cannot be drawn
Curves = dict[str, list[tuple[float, float]]]  # name → (step, value)


def read(folder: Path, limit: int = given.TEXT) -> Curves:
    """Every finite number of metrics.csv in `folder` by its column; none where there is no such file.

    Cells that are no numbers are passed over. Raises BadInput for a file that is no table, or has more than
    `limit` bytes.
    """
    path = folder / METRICS
    if not path.exists():
        return {}
    found: Curves = {}
    try:
        for row in csv.DictReader(io.StringIO(given.read_text(path, limit), newline="")):
            step = _number(row.get("step"))
            for name, text in row.items():
                value = _number(text)
                if name not in ("step", "epoch", None) and step is not None and value is not None:
                    found.setdefault(name, []).append((step, value))
    except csv.Error as error:
        raise BadInput(f"{given.shown(path)} is no table: {quoted(error)}") from error
    return found


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) and text else math.nan
    except ValueError:
        return None
    return value if abs(value) < LARGEST else None
