"""Is this data set in order? Everything that is wrong with it, one sentence each, and the repairs that are safe."""

from davis_exp.data.check.content import contents
from davis_exp.data.check.findings import Clip, Finding, Survey
from davis_exp.data.check.fix import rewrite
from davis_exp.data.check.survey import survey

__all__ = ["Clip", "Finding", "Survey", "contents", "rewrite", "survey"]
