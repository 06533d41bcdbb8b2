"""The bar is for the terminal; what is printed goes where it was sent."""

import os
import subprocess
import sys

PROGRAM = """
from davis_exp.utils.progress import progress_bar
with progress_bar("checking") as progress:
    print("a defect", flush=True)
    progress(1, 2)
    print("the end", flush=True)
"""


def test_lines_reach_a_pipe_while_the_bar_is_on_a_terminal():
    terminal, end = os.openpty()
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=end, check=True, timeout=60
    ).stdout
    os.close(end)
    drawn = os.read(terminal, 2**16).decode()
    os.close(terminal)
    assert out.decode().splitlines() == ["a defect", "the end"]
    assert "checking" in drawn
    assert "a defect" not in drawn
