"""The legend of a picture of curves: as many lines of text as the names take, so that none is cut off."""

import html
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

ROW = 16  # pixels from one line of text to the next
SWATCH = 23  # pixels before a name: a bit of its curve, and air
GAP = 17  # pixels between two names in a line
MARKS = "/_=- "  # names are broken after one of these, where they can be


def legend(
    entries: Iterable[tuple[str, str]], left: float, top: float, right: float
) -> tuple[list[str], int]:
    """SVG of names with their curves' kinds, the first line `top` pixels down; and by how much it is taller than one."""
    body = []
    x, y = left, top
    for name, kind in entries:
        pieces = _broken(name, right - left - SWATCH)
        if x > left and x + SWATCH + _wide(pieces[0]) > right:
            x, y = left, y + ROW
        body.append(f'<path class="series {kind}" d="M{x:g} {y - 4:g} h18"/>')
        for i, piece in enumerate(pieces):
            y += ROW * (i > 0)
            body.append(f'<text class="name" x="{x + SWATCH:g}" y="{y:g}">{html.escape(piece)}</text>')
        x = right if len(pieces) > 1 else round(x + SWATCH + _wide(name) + GAP)
    return body, round(y - top)


def _broken(name: str, room: float) -> list[str]:
    """The name in pieces that each fit into `room` pixels."""
    pieces = []
    while _wide(name) > room:
        fitting = max(1, bisect_right(list(accumulate(map(_advance, name))), room))
        end = max(name.rfind(mark, 0, fitting) for mark in MARKS) + 1 or fitting
        pieces.append(name[:end])
        name = name[end:]
    return [*pieces, name]


def _wide(text: str) -> float:
    """Pixels that a text takes at most: nobody knows a browser's font, so letters count as in a wide one, at 12 px."""
    return sum(map(_advance, text))


def _advance(letter: str) -> float:
    if letter in "mwMW@%" or ord(letter) > 0x2000 or unicodedata.east_asian_width(letter) in "WF":
        return 12.5
    return 9.5 if letter.isupper() else 7.7
