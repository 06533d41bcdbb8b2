"""What a part refused, told from outside."""

from functools import partial

import pytest

from davis_exp.utils.arguments import begins_with_argument, check_positive, located, refused_by


class Part:
    def __init__(self, *, inputs: int, width: int = 1) -> None:
        check_positive(width=width)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("width must be at least 1, got 0", "decoder.width must be at least 1, got 0"),
        ("width=0: too thin", "decoder.width=0: too thin"),
        ("width: too thin", "decoder.width: too thin"),
        ("width.inner must be odd", "decoder.width.inner must be odd"),
        ("widths must be two", "decoder: widths must be two"),
        ("the width is odd", "decoder: the width is odd"),
        ("width", "decoder: width"),
        ("", "decoder: "),
    ],
)
def test_a_message_that_begins_with_an_argument_goes_on_where_the_part_stands(
    message: str, line: str
) -> None:
    assert located("decoder", message, Part) == line
    assert located("decoder", message, partial(Part, width=3)) == line


def test_something_without_a_signature_has_no_arguments() -> None:
    assert not begins_with_argument("start must be there", range)


def test_each_part_says_where_it_stands() -> None:
    def outer(part: Part) -> None: ...

    with pytest.raises(ValueError, match=r"^encoder\.part\.width must be at least 1, got 0$") as refusal:  # noqa: SIM117
        with refused_by("encoder", outer), refused_by("part", Part):
            Part(inputs=3, width=0)
    assert isinstance(refusal.value.__cause__, ValueError)
    with pytest.raises(KeyError), refused_by("encoder", outer):
        raise KeyError("another matter")


def test_positive() -> None:
    check_positive(width=1, heads=2)
    with pytest.raises(ValueError, match=r"^heads must be at least 1, got -2$"):
        check_positive(width=1, heads=-2, grid=0)
