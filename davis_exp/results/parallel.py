"""The former place of davis_exp.parallel."""

from davis_exp.parallel import Progress, ordered

__all__ = ["Progress", "ordered"]
