"""Repairs that change no meaning."""

import secrets
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from davis_exp.data.masks import MaskReader
from davis_exp.utils.errors import BadInput


def rewrite(mask: Path, reader: MaskReader | None = None) -> None:
    """Write a mask anew as an 8-bit grey PNG of 0 and 255, which reads as before.

    The new file is written beside the old one, read back, and put in its place. A link is replaced, what it
    points to stays. Raises BadInput if the mask cannot be read or the file not be written.
    """
    inside = (reader or MaskReader()).read(mask).inside
    part = mask.with_name(f".{mask.stem}.{secrets.token_hex(4)}.part.png")
    try:
        Image.fromarray(inside * np.uint8(255)).save(part)
        if not np.array_equal(MaskReader().read(part).inside, inside):
            raise BadInput(f"{mask} could not be rewritten: it did not read as before; it was left alone")
        shutil.copymode(mask, part)
        part.replace(mask)
    except OSError as error:
        raise BadInput(f"{mask} cannot be rewritten: {error.strerror}; make the folder writable") from error
    finally:
        part.unlink(missing_ok=True)
