"""Tables on a terminal, plain text anywhere else."""

import io
import logging
import os
import subprocess
import sys

import pytest
from rich.console import Console

from davis_exp import terminal

CHOICES = {
    "hydra/help": "default",
    "decoder": "fpn",
    "encoder": "resnet18",
    "flow": "none",
    "experiment": "None",
}
PROGRAM = """
import logging, sys
from davis_exp.terminal import Console, shown
log = logging.getLogger()
log.setLevel("INFO")
log.addHandler(Console(sys.stdout))
log.info("before")
log.info("plain", extra=shown(lambda: "[bold]rich[/bold]"))
log.info("not on a terminal", extra=shown(None))
"""


class Tty(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_gets_the_text():
    out = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["before", "plain", "not on a terminal"]


def test_a_terminal_gets_what_is_shown_there():
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "NO_COLOR": ""}
    subprocess.run([sys.executable, "-c", PROGRAM], stdout=theirs, check=True, env=environment)
    os.close(theirs)
    drawn = os.read(ours, 4096).decode()
    os.close(ours)
    assert "before" in drawn
    assert "rich" in drawn
    assert "[bold]" not in drawn
    assert "plain" not in drawn
    assert "not on a terminal" not in drawn


def test_what_is_printed_goes_where_standard_output_is_now(monkeypatch):
    handler = terminal.Console(io.StringIO())
    monkeypatch.setattr(sys, "stdout", Tty())
    handler.emit(logging.LogRecord("", logging.INFO, "", 0, "said", (), None))
    assert sys.stdout.getvalue() == "said\n"


def drawn(table):
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return " ".join(console.file.getvalue().split())


def test_a_composition_in_a_line():
    assert terminal.composition(CHOICES) == "encoder resnet18, decoder fpn"
    assert terminal.composition({}) == ""


def test_the_cost_of_each_part_with_its_option():
    parts = [
        {"name": "encoder", "parameters": 750, "flops": 2 * 10**9},
        {"name": "decoder", "parameters": 250, "flops": None},
    ]
    cost = {"size": [480, 854], "parameters": 1000, "flops": 2 * 10**9, "parts": parts}
    said = drawn(terminal.cost_table(cost, CHOICES | {"loss": "bce"}, 10_000))
    assert "encoder resnet18 750 75 % 2.00" in said
    assert "decoder fpn 250 25 % -" in said
    assert "total 1,000 100 %" in said
    assert "loss bce, 10 % of the budget of 10,000" in said
    assert "budget" not in drawn(terminal.cost_table(cost, {}, None))


def test_scores_in_percent():
    own = {
        "contest": {"mean_iou": 0.5},
        "davis2016": {"J": {"mean": 0.25}, "F": {"mean": None}, "J&F": 0.125},
    }
    score = own | {"sequences": {"swan": own | {"frames": ["a", "b"]}}, "baselines": {"everything": 0.1}}
    said = drawn(terminal.score_table(score))
    assert "swan 2 50.00 25.00 - 12.50" in said
    assert "all 2 50.00 25.00 - 12.50" in said
    assert "everything 10.00" in said


@pytest.mark.parametrize("how", ["| head -c 1", ">&-", "> /dev/full"])
def test_no_reader_is_needed(how, tmp_path):
    code = (
        "from davis_exp.terminal import unbreakable\nimport os, sys\nwith unbreakable():\n"
        "    for _ in range(5000): print('line' * 100)\n    sys.stdout.isatty()\n"
        "    open('done', 'w').write('whole')\nsys.exit(7)"
    )
    shell = f'set -o pipefail; "$0" -c "$1" {how}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert (tmp_path / "done").read_text() == "whole"
