"""The results of one model on one data set, as files.

A folder of `outputs/00000.png …` (8-bit grey confidence at the frame's own size, named by the data set's
integer index), `paths.json` (`{"output": {"0": "outputs/00000.png", …}}`) and `metadata.json` (`nparams`,
`nflops`, `frames`, …).
"""

from davis_exp.results.reader import METADATA, OUTPUTS, PATHS, Results
from davis_exp.results.writer import ResultsWriter, to_confidence

__all__ = ["METADATA", "OUTPUTS", "PATHS", "Results", "ResultsWriter", "to_confidence"]
