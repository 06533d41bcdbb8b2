"""The board: all runs below some folders on one page, while they run."""
