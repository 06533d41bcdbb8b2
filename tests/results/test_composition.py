"""The cost of a model, as a table on a terminal."""

import io

from rich.console import Console

from davis_exp.results.composition import composition, cost_table

CHOICES = {
    "hydra/help": "default",
    "decoder": "fpn",
    "encoder": "resnet18",
    "flow": "none",
    "experiment": "None",
}


def drawn(table):
    console = Console(file=io.StringIO(), width=120)
    console.print(table.rich())
    return " ".join(console.file.getvalue().split())


def test_a_composition_in_a_line():
    assert composition(CHOICES) == "encoder resnet18, decoder fpn"
    assert composition({}) == ""


def test_the_cost_of_each_part_with_its_option():
    parts = [
        {"name": "encoder", "parameters": 750, "buffers": 3, "flops": 2 * 10**9},
        {"name": "decoder", "parameters": 250, "buffers": 0, "flops": None},
    ]
    cost = {"size": [480, 854], "parameters": 1000, "buffers": 3, "flops": 2 * 10**9, "parts": parts}
    said = drawn(cost_table(cost, CHOICES | {"loss": "bce"}, 10_000))
    assert "encoder resnet18 750 3 75 % 2.00" in said
    assert "decoder fpn 250 0 25 % -" in said
    assert "total 1,000 3 100 %" in said
    assert "loss bce 9,000 parameters under the budget of 10,000 (10 % of it)" in said
    assert "budget" not in drawn(cost_table(cost, {}, None))
