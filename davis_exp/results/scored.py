"""Results and a labelled data set, wherever they lie → a score that shows itself."""

from pathlib import Path
from typing import Any

from davis_exp.data.sources import open_source
from davis_exp.metrics.measures import JUDGED, OVERALL
from davis_exp.results.artifact import Results
from davis_exp.results.check import form_defects, refuse
from davis_exp.results.pages.markup import table
from davis_exp.results.scoring import score as of_sequences
from davis_exp.results.table import score_table
from davis_exp.results.truth import Truth


class Score(dict[str, Any]):
    """The content of a score.json: `score["contest"]["mean_iou"]`, `score["davis2016"]["J"]["mean"]`, fractions of 1."""

    def __str__(self) -> str:
        return str(score_table(self))

    def _repr_html_(self) -> str:
        """What a notebook shows: a row a sequence."""
        shown = score_table(self, [JUDGED.protocols[0], OVERALL.protocols[0]])
        return str(table([*map(str.strip, shown.columns)], [*shown.rows, shown.total]))


def score(
    results: str | Path,
    truth: str | Path,
    *,
    limit: int | None = None,
    masks: str = "auto",
    void: int | None = 255,
    ends: bool = True,
    cache: Path | None = None,
    **how: Any,
) -> Score:
    """The contest's score and the official J and F of results, as the judge has them.

    Args:
        results: a results folder or zip, or a folder of masks `<sequence>/<frame>.png`.
        truth: a labelled data set in any layout that is known.
        limit: parameters that a submission may have; None: any number.
        masks, void: what marks the object in the truth's masks (`davis_exp.data.masks.MaskReader`).
        ends: whether each sequence's first and last frame must be there; without them only `davis2016` is scored.
        cache: a folder where the truth is kept packed, to be faster next time.
        how: as `davis_exp.results.scoring.score` takes it (workers, stability …).

    Raises BadInput for results or truth that cannot be read or do not match.
    """
    sequences = open_source(Path(truth), masks, void).sequences("test")
    opened = Results.open(Path(results), strict=False)
    refuse(Path(results), form_defects(opened, sequences, limit, ends=ends))
    return Score(of_sequences(opened, sequences, ends=ends, truth=Truth(cache), **how))
