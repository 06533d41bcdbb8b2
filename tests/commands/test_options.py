import pytest

from davis_exp import cli


@pytest.mark.parametrize(
    "command", [["check", "x"], ["score", "x", "y"], ["leaderboard", "x"], ["data", "check", "x"]]
)
@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_threads_must_be_at_least_one(command, number, capsys):
    assert cli.main([*command, f"--workers={number}"]) == 2
    assert f"must be a whole number of at least 1, got '{number}'" in capsys.readouterr().err
