"""What a mask file marks, told by what kind of file it is and never by how bright it looks.

| kind | the object |
|---|---|
| palette | every colour number but 0 and void; in a ramp of greys, and where 0 is not black, the colours are what counts |
| grey, one value beside 0 (0/1, 0/255, 1 bit, 16 bits) | that value |
| grey, numbers below 32 | every number but 0 and void: ids |
| grey, a few levels that fill areas | every level: ids |
| grey, other shades, and every JPEG | what is brighter than half of 1, 255 or 65535: soft |
| colours, a few | every colour but black and void's |
| alpha that is not opaque throughout | what it covers by half or more; refused where colours say something else |

Void pixels are no object, and are kept apart: scoring leaves them out, as DAVIS-2017's evaluation does, training takes
them for background. What could be read in two ways is refused, and the refusal says which settings decide.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from davis_exp.data import png
from davis_exp.data.pictures import content_of, decoded, orientation, upright
from davis_exp.data.shades import (
    alpha_of,
    apart,
    fills,
    foreground,
    grey_values,
    levels_of,
    one_hue,
    palette_of,
    voc_colour,
)
from davis_exp.utils import given
from davis_exp.utils.errors import BadInput

MASKS = ("auto", "ids", "binary", "alpha")
IDS = 32  # numbers of objects are below this; a picture whose brightest grey is below it shows nothing else
FEW = 16  # levels; more are shades
COLOURS = 64  # of objects in one file
COLOUR = 2**24  # from here on the number that `read_ids` gives is a colour
LOSSY = ("JPEG", "MPO")
SET = "set data.masks (or --masks) to "


class Mask(NamedTuple):
    """What a mask file marks.

    Attributes:
        ids: (H, W) whole numbers or bool: 0 where there is no object, else its number or colour; 1 where the file tells
            none apart.
        void: (H, W) bool, where the annotator left open what there is; None if nowhere.
        kind: how that was told: "binary", "ids", "colours", "alpha" or "soft".
    """

    ids: np.ndarray
    void: np.ndarray | None
    kind: str

    @property
    def inside(self) -> np.ndarray:
        """(H, W) uint8, 1 = object."""
        return self.ids.astype(bool).view(
            np.uint8
        )  # a bool compared with 0 is made a whole number first: slow

    def judged(self, prediction: np.ndarray) -> np.ndarray:
        """A predicted mask (H, W) bool without what is void: nobody knows what is right there."""
        return prediction if self.void is None else prediction & ~self.void


class _Unclear(Exception):
    """A file of which it cannot be told what it marks, or not so quickly."""


@dataclass(frozen=True)
class MaskReader:
    """Reads mask files.

    Args:
        masks: "auto" goes by the kind of file, as this module's table says; "ids": every value but 0 and void is an
            object; "binary": what is brighter than half of the scale, or has another palette number than 0; "alpha":
            what the alpha channel covers.
        void: the number that marks undecided pixels in files of ids; None for no such number.

    Raises:
        ValueError: another value.
    """

    masks: str = "auto"
    void: int | None = 255

    def __post_init__(self) -> None:
        if self.masks not in MASKS:
            raise ValueError(f"masks must be one of {', '.join(MASKS)}, got {self.masks!r}")
        if self.void is not None and (isinstance(self.void, bool) or not 0 < self.void < 65536):
            raise ValueError(f"void must be a number from 1 to 65535 or null, got {self.void!r}")

    def read(self, path: Path) -> Mask:
        """What a file marks, the right way up. Raises BadInput naming the file if it is missing, damaged or unclear."""
        data = content_of(path, "mask")
        if self.masks == "auto" and b"eXIf" not in data:
            # The usual kind, ten times as fast. Of other kinds, and of damaged ones, Pillow shall judge.
            with suppress(BadInput, _Unclear):
                return Mask(png.decode(data, path.name, _one_level), None, "binary")
        with decoded(data, path, "mask") as image:
            return self.of(image, f"mask {given.shown(path)}")

    def of(self, image: Image.Image, name: str) -> Mask:
        """As `read`, of an opened picture. Raises BadInput calling it `name`."""
        try:
            ids, void, kind = self._marked(image)
        except _Unclear as unclear:
            raise BadInput(f"{name} {unclear}") from None
        turn = orientation(image)
        void = None if void is None or not void.any() else upright(void, turn)
        return Mask(upright(ids, turn), void, kind)

    def _marked(self, image: Image.Image) -> Mask:
        alpha = alpha_of(image)
        if self.masks == "alpha":
            if "A" not in image.getbands():
                raise _Unclear(f"has no alpha channel: {SET}auto")
            return Mask(np.asarray(image.getchannel("A")) >= 128, None, "alpha")
        if self.masks != "auto" or alpha is None:
            return self._coloured(image)
        covered = alpha >= 128
        try:
            shown = self._coloured(image)
        except _Unclear:  # a photograph: the object is cut out
            return Mask(covered, None, "alpha")
        void = np.zeros(covered.shape, bool) if shown.void is None else shown.void
        marked = shown.ids != 0
        if not marked.any() or marked.all():
            return Mask(covered, None, "alpha")
        if np.array_equal(marked | void, covered) or np.array_equal(marked, covered):
            return shown
        raise _Unclear(
            f"has a mask in its colours and another in its alpha channel: {SET}alpha, or to binary or ids to ignore that"
        )

    def _coloured(self, image: Image.Image) -> Mask:
        """What all channels but alpha mark."""
        if image.mode in ("P", "PA"):
            indices = np.asarray(image if image.mode == "P" else image.getchannel(0))
            return self._indexed(indices, palette_of(image), image.format)
        grey = grey_values(image)
        if grey is not None:
            return self._grey(grey, image.format)
        return self._colours(np.asarray(image.convert("RGB")), image.format)

    def _indexed(self, indices: np.ndarray, palette: np.ndarray, file_format: str | None) -> Mask:
        used = np.flatnonzero(np.bincount(indices.reshape(-1), minlength=256))
        colours = palette[used]
        ramp = (colours == colours[:, :1]).all() and (np.array_equal(colours[:, 0], used) or len(used) > FEW)
        if ramp:  # a grey picture, saved with a palette
            return self._grey(palette[indices, 0], file_format)
        if self.masks == "binary":
            return Mask(indices != 0, None, "binary")
        if self.masks == "ids" or not palette[0].any():
            return self._ids(indices)
        if not (colours == 0).all(axis=1).any():
            raise _Unclear(
                f"is a palette mask without black, so that its background is not known: {SET}ids if it is colour number 0"
            )
        return self._colours(palette[indices], file_format)

    def _ids(self, values: np.ndarray) -> Mask:
        if self.void is None:
            return Mask(values, None, "ids")
        void = values == self.void
        return Mask(np.where(void, 0, values), void, "ids")

    def _grey(self, values: np.ndarray, file_format: str | None, coloured: bool = False) -> Mask:
        if self.masks == "binary":
            return Mask(foreground(values), None, "binary")
        whole = values.dtype.kind in "bui"
        if self.masks == "ids":
            if file_format in LOSSY or not whole:
                raise _Unclear(f"is of a kind that holds no numbers of objects: save a PNG, or {SET}auto")
            return self._ids(values)
        levels = levels_of(values)
        if len(levels) <= 1 and file_format not in LOSSY:
            return Mask(values != 0, None, "binary")
        if file_format not in LOSSY and whole:
            numbers = levels[levels != self.void] if self.void is not None and not coloured else levels
            if numbers[-1] < IDS:
                return Mask(values, None, "ids") if coloured else self._ids(values)
            if len(levels) <= FEW and apart(levels) and (levels[-1] < 128 or fills(values, levels)):
                return Mask(values, None, "ids")
        inside = values >= 128 if file_format in LOSSY else foreground(values)
        if levels.size and not inside.any():
            raise _Unclear(
                f"holds shades up to {levels[-1]} but nothing over half, so it is not known what is object: {SET}ids if "
                "all is, binary if nothing is"
            )
        return Mask(inside, None, "soft" if len(levels) > 1 else "binary")

    def _colours(self, picture: np.ndarray, file_format: str | None) -> Mask:
        """Of (H, W, 3) uint8 that is not grey throughout."""
        brightest = picture.max(axis=2)
        if self.masks == "binary":
            return Mask(foreground(brightest), None, "binary")
        codes = picture[..., 0].astype(np.int32)
        for channel in (1, 2):
            codes <<= 8
            codes |= picture[..., channel]
        levels = levels_of(codes)
        if self.masks == "auto" and (
            not levels.size or one_hue(levels)
        ):  # shades of one colour are as good as shades of grey
            return self._grey(brightest, file_format, coloured=True)._replace(kind="colours")
        if file_format in LOSSY or len(levels) > COLOURS:
            raise _Unclear(
                f"is a picture of {len(levels):,} colours and no mask of a few: save one 8-bit channel of 0 and 255, or "
                f"{SET}binary to go by brightness"
            )
        if self.void is None or self.void > 255:
            return Mask(codes, None, "colours")
        void = codes == voc_colour(self.void)
        return Mask(np.where(void, 0, codes), void, "colours")


def read_ids(path: Path) -> np.ndarray:
    """What a mask file calls each pixel, (H, W) int32, the right way up: a palette's index or a grey value as it is stored.

    A colour but black is COLOUR + red·65536 + green·256 + blue; alpha is ignored. Raises BadInput as `MaskReader.read`.
    """
    with decoded(content_of(path, "mask"), path, "mask") as image:
        turn = orientation(image)
        if image.mode in ("LA", "PA"):
            image = image.getchannel(0)
        if image.mode == "1" or image.mode.partition(";")[0] in ("L", "P", "I"):
            return upright(np.asarray(image).astype(np.int32), turn)
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.int32), 2, 0)
    ids = red << 16 | green << 8 | blue
    return upright(np.where(ids, ids + COLOUR, 0), turn)


def _one_level(values: np.ndarray) -> np.ndarray:
    """Where there is another value than 0, if all others are one."""
    inside: np.ndarray = values != 0
    highest = values.max(initial=0)
    if highest and not ((values == highest) == inside).all():
        raise _Unclear
    return inside
