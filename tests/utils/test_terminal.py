"""What a terminal shows in the place of text, and streams that nobody reads."""

import io
import logging
import os
import subprocess
import sys

import pytest

from davis_exp.utils import terminal

PROGRAM = """
import logging, sys
from davis_exp.utils.terminal import Console, shown
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


@pytest.mark.parametrize("how", ["| head -c 1", ">&-", "> /dev/full"])
def test_no_reader_is_needed(how, tmp_path):
    code = (
        "from davis_exp.utils.terminal import unbreakable\nimport os, sys\nwith unbreakable():\n"
        "    for _ in range(5000): print('line' * 100)\n    sys.stdout.isatty()\n"
        "    open('done', 'w').write('whole')\nsys.exit(7)"
    )
    shell = f'set -o pipefail; "$0" -c "$1" {how}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert (tmp_path / "done").read_text() == "whole"
