import json
import os

import pytest

from davis_exp.launch import status as launched
from davis_exp.runs import status
from davis_exp.utils.errors import BadInput


def test_what_is_written_is_read(tmp_path):
    assert status.read(tmp_path) == {}
    fields = {
        "state": "finished",
        "seconds": 1.5,
        "overrides": ["a=1"],
        "nparams": 5,
        "error": None,
        "objective": -0.5,
    }
    status.update(tmp_path, **fields)
    status.update(tmp_path, seconds=2)
    assert status.read(tmp_path) == fields | {"seconds": 2}
    assert [path.name for path in tmp_path.iterdir()] == [status.STATUS]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": "won"}, "state is won, not a state"),
        ({"nparams": "5"}, "nparams is 5, not a whole number"),
        ({"nparams": True}, "nparams is True"),
        ({"seconds": -1}, "seconds is -1"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"overrides": [1]}, "not a list of texts"),
        ({"overrides": "seed=1"}, "not a list of texts"),
        ({"error": "x" * 100_000}, "not a text"),
        ({"objective": float("inf")}, "not a number"),
        ([1], "is no status of a run"),
    ],
)
def test_a_status_that_cannot_be_is_refused_and_said_in_tables(tmp_path, fields, why):
    (tmp_path / status.STATUS).write_text(json.dumps(fields))
    with pytest.raises(BadInput, match=why):
        status.read(tmp_path)
    assert status.known(tmp_path) == {}
    found = launched.current(tmp_path)
    assert found["state"] == status.UNREADABLE
    assert why.split(",")[0] in found["error"]


@pytest.mark.timeout(20)
def test_pipes_devices_and_deserts_are_not_read(tmp_path):
    path = tmp_path / status.STATUS
    os.mkfifo(path)
    assert launched.current(tmp_path)["state"] == status.UNREADABLE
    path.unlink()
    path.symlink_to("/dev/zero")
    assert launched.current(tmp_path)["state"] == status.UNREADABLE
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(2**40)
    assert "larger than" in launched.current(tmp_path)["error"]
