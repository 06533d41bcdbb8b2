"""A score, as a table on a terminal."""

import io

from rich.console import Console

from davis_exp.results.table import score_table


def drawn(table):
    console = Console(file=io.StringIO(), width=120)
    console.print(table.rich())
    return " ".join(console.file.getvalue().split())


def test_scores_in_percent():
    known = {"mean": 0.25, "recall": 0.5, "decay": -0.125}
    own = {
        "contest": {"segmentation_metric": 0.5, "mean_iou": 0.5},
        "davis2016": {"J": known, "F": dict.fromkeys(known), "J&F": 0.125},
    }
    score = own | {"sequences": {"swan": own | {"frames": ["a", "b"]}}, "baselines": {"everything": 0.1}}
    said = drawn(score_table(score, ["contest", "davis2016"]))
    assert "swan 2 50.00 25.00 - 12.50 -" in said
    assert "all 2 50.00 25.00 - 12.50 -" in said
    assert "everything 10.00" in said
    assert "DAVIS-2016: J mean 25.00 recall 50.00 decay -12.50; F mean - recall - decay -" in said
