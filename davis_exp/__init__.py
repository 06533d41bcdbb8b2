"""davis_exp: experiments in primary video object segmentation, inside a parameter budget."""

__version__ = "0.1.0"
