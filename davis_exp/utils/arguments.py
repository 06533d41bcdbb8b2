"""Which argument a refusal is about, seen from outside.

Parts raise ValueError("width must be at least 1, got 0"); whoever made the part adds where it stands: "decoder.width
must be at least 1, got 0", with a dot where the message begins with the name of an argument, else with a colon.
"""

import contextlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any


def located(path: str, message: str, target: Callable[..., Any]) -> str:
    """`message` of what `target` refused, where `target` is what stands at `path` ("encoder.motion")."""
    return f"{path}{'.' if begins_with_argument(message, target) else ': '}{message}"


def begins_with_argument(message: str, target: Callable[..., Any]) -> bool:
    """Whether the first word of `message` ("width", "fusion.after") is, or is inside of, an argument of `target`."""
    word = re.match(r"\w+(?=[\s:.=])", message)
    try:
        return word is not None and word[0] in inspect.signature(target).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


@contextlib.contextmanager
def refused_by(name: str, target: Callable[..., Any]) -> Iterator[None]:
    """A ValueError raised inside, of what stands at the argument `name`, says so."""
    try:
        yield
    except ValueError as error:
        raise ValueError(located(name, str(error), target)) from error


def check_positive(**arguments: float) -> None:
    """Raise ValueError for the first of them that is not at least 1."""
    for name, value in arguments.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
