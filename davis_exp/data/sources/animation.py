"""Several pictures in one file that is no video to FFmpeg: animated WebP and PNG, TIFF of several pages."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from davis_exp.data.frames import colours
from davis_exp.data.pictures import DAMAGED, opened
from davis_exp.data.sources.film import Film

RATE = 24  # pictures a second where a file does not say
PAGES = 100_000


def pictures_in(path: Path) -> int:
    """How many pictures an image file holds. Raises BadInput where it cannot be read."""
    with opened(path, "picture") as image:
        return min(int(getattr(image, "n_frames", 1)), PAGES)


class AnimationSequence(Film):
    """The pictures of one image file of several.

    Raises:
        BadInput: a file of which not even the first picture can be read.
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        super().__init__(path, every)
        shown, now, announced = [], Fraction(0), pictures_in(path)
        with opened(path, "picture") as image:
            for i in range(announced):
                if not _seek(image, i):
                    self.breaks_off = (
                        f"{path} breaks off: {i:,} frames of the {announced:,} that it announces are there, and these "
                        "were used; get the whole file"
                    )
                    break
                shown.append(now)
                now += Fraction(round(image.info.get("duration") or 0), 1000) or Fraction(1, RATE)
        self._settle(shown)

    def _decoded(self) -> Iterator[np.ndarray]:
        with opened(self.path, "picture") as image:
            for i in range(len(self._shown)):
                _seek(image, i * self.every)
                yield colours(image)


def _seek(image: Any, i: int) -> bool:
    """Have the image at its picture `i`; False where it breaks off before."""
    try:
        image.seek(i)
        image.load()
    except DAMAGED:
        if not i:
            raise
        return False
    return True
