"""Text as a value in Hydra's grammar of overrides, and back."""

import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]*[/.][A-Za-z0-9_/+-]*[A-Za-z_/][A-Za-z0-9_./+-]*")
"""What needs no quotes: a path that is neither a number nor a word with a meaning (null, true)."""


def quoted_value(text: str) -> str:
    """`text` so that `key=<it>` gives the string `text`, whatever is in it: quoted, and no `${` resolved."""
    if PLAIN.fullmatch(text):
        return text
    kept = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)  # OmegaConf's escape
    return QuotedString(kept, Quote.single).with_quotes()


def pasted(key: str, text: str) -> str:
    """The override `key=<text>` as one word of a shell's command line, whatever is in `text`."""
    return shlex.quote(f"{key}={quoted_value(text)}")


def plain_value(written: str) -> str:
    """The string that the value `written` of an override stands for; as it is where it stands for no string."""
    try:
        value = OverridesParser.create().parse_override(f"key={written}").value()
    except HydraException:  # which says so itself when it composes
        return written
    if not isinstance(value, str):
        return written
    return re.sub(r"(\\*)\\\$\{", lambda found: found[1][: len(found[1]) // 2] + "${", value)
