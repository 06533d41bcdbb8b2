import pytest

from davis_exp import ranks


@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, 1), (3, 3), ([0, 2], 2), ("0,2", 2), ("0,", 1), ("2", 2), ("auto", 1), (-1, 1), ([], 1), (None, 1)],
)
def test_how_many_ranks_a_config_asks_for(devices, number: int) -> None:
    assert ranks.number(devices) == number


def test_a_process_alone_is_the_first_and_only_rank() -> None:
    assert ranks.here().first
    assert ranks.gathered("x") == ["x"]
    with ranks.in_turn():
        pass
