"""A score, as a table on a terminal."""

import io

from rich.console import Console

from davis_exp.results.table import terminal_table


def drawn(table):
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return " ".join(console.file.getvalue().split())


def test_scores_in_percent():
    own = {
        "contest": {"mean_iou": 0.5},
        "davis2016": {"J": {"mean": 0.25}, "F": {"mean": None}, "J&F": 0.125},
    }
    score = own | {"sequences": {"swan": own | {"frames": ["a", "b"]}}, "baselines": {"everything": 0.1}}
    said = drawn(terminal_table(score))
    assert "swan 2 50.00 25.00 - 12.50" in said
    assert "all 2 50.00 25.00 - 12.50" in said
    assert "everything 10.00" in said
