"""A fast part of the fault campaign: a case in many, and some mutated inputs for each reader."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
CAMPAIGN = REPO / "scripts/campaign"
PARTS = {
    "checkpoints": 25,
    "inputs": 8,
    "datasets": 12,
    "runs": 14,
    "disk": 9,
    "sweeps": 13,
    "kills": 5,
    "agent": 4,
}  # one case in so many
SLOW = ("sweeps", "kills", "disk")


@pytest.mark.parametrize("part", [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in PARTS])
@pytest.mark.timeout(900)
def test_nothing_is_found(part, tmp_path):
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environ |= {"CAMPAIGN_COUNT": "100", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    command = [
        sys.executable,
        CAMPAIGN / "all.py",
        part,
        "--every",
        str(PARTS[part]),
        "--scratch",
        tmp_path / "scratch",
    ]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "; 0 findings" in done.stdout


def test_every_part_is_tried():
    assert {path.stem for path in CAMPAIGN.glob("*.py") if path.stem != "all" and path.stem[0] != "_"} == set(
        PARTS
    )


def test_the_watch_sees_what_no_file_may_cause(tmp_path):
    """What finds nothing may also be blind."""
    (tmp_path / "evil.py").write_text("x = 1\n")
    code = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from _watch import watch\n"
        "watch(1, Path(sys.argv[2])); sys.path.insert(0, sys.argv[2]); import evil\n"
        "os.system('true')\n"
        "try: open('/var/lib/x')\nexcept OSError: pass\n"
        "try: os.mkdir('/proc/x')\nexcept OSError: pass\n"
        "import socket\ntry: socket.create_connection(('127.0.0.1', 9), 1)\nexcept OSError: pass\n"
        "(Path(sys.argv[2]) / 'own').write_text('x')"
    )
    done = subprocess.run([sys.executable, "-c", code, CAMPAIGN, tmp_path], capture_output=True, text=True)
    seen = done.stdout
    assert done.returncode == 0, done.stderr
    for what in ("execute ", "os.system", "open /var/lib/x", "os.mkdir /proc/x", "socket.connect"):
        assert what in seen
    assert "own" not in seen.replace(str(tmp_path), "")
