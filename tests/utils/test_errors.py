import pytest
from torch._utils import ExceptionWrapper

from davis_exp.launch.status import one_line
from davis_exp.utils.errors import BadInput, CannotWrite, brief, cannot_write


class Odd(Exception):
    """One of a library's, with a message of several lines."""


def handed_on(error):
    """What a loader's process makes of an error: the same with its traceback in its message."""
    try:
        try:
            raise error
        except type(error):
            wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
        wrapped.reraise()
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BadInput("frame a.jpg is missing: restore it"), "frame a.jpg is missing: restore it"),
        (CannotWrite("cannot write x: no space left"), "cannot write x: no space left"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (Odd("first\nsecond: third"), "Odd: first second: third"),
        (Odd(), "Odd"),
        (KeyError("name"), "KeyError: 'name'"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_a_workers_process_says_is_one_line(error, told):
    caught = handed_on(error)
    assert type(caught) is type(error)
    assert one_line(caught) == one_line(error) == told
    assert "Traceback" not in brief(caught)
    if isinstance(error, CannotWrite):
        assert str(cannot_write(caught)) == told
