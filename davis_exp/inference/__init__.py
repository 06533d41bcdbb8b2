"""A whole sequence → masks, frame by frame, in memory that does not grow with the sequence.

The model's `.context` decides how: None streams with state, (0, 0) takes frames in independent chunks, anything
else lays overlapping windows and averages their probabilities.
"""

from davis_exp.inference.sequence import predict, spans
from davis_exp.inference.settings import Inference

__all__ = ["Inference", "predict", "spans"]
