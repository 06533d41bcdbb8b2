"""Files and folders appear when they are whole, whatever happens to who writes them."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from davis_exp.utils import written
from davis_exp.utils.errors import cannot_write


def test_an_error_leaves_what_was_there(tmp_path):
    file = tmp_path / "a.json"
    written.write_text(file, "old")

    def fail() -> None:
        with written.atomic_file(file) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_folder_replaces_a_folder_as_a_whole(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").touch()
    with written.atomic_folder(folder) as part:
        (part / "new").touch()
        assert (folder / "old").exists()
    assert [p.name for p in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_swept_and_what_is_being_written_stays(tmp_path, kind):
    code = (
        "import sys, time; from pathlib import Path; from davis_exp.utils import written\n"
        f"with written.atomic_{kind}(Path(sys.argv[1])) as part:\n"
        "    (part / 'x' if part.is_dir() else part).write_text('half'); print('there', flush=True); time.sleep(60)"
    )
    target = tmp_path / "a[1].txt"
    with subprocess.Popen([sys.executable, "-c", code, target], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"there\n"
        written.sweep_parts(target)
        assert len(list(tmp_path.iterdir())) == 1  # locked by a living writer
        writer.send_signal(signal.SIGKILL)
    assert not target.exists()
    written.sweep_parts(target)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_killed_between_two_renames_loses_nothing(tmp_path):
    old = tmp_path / ".out.12345678.part.old"
    old.mkdir()
    (old / "kept").touch()
    written.sweep_parts(tmp_path / "out")
    assert (tmp_path / "out" / "kept").exists()


def test_a_full_disk_keeps_the_file(tmp_path):
    """RLIMIT_FSIZE stands in for a full disk: writing fails in the middle."""
    file = tmp_path / "a"
    written.write_text(file, "old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from davis_exp.utils import written\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "written.write_bytes(Path(sys.argv[1]), bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_permissions_are_those_of_any_new_file(tmp_path):
    written.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert os.stat(tmp_path / "a").st_mode == os.stat(tmp_path / "b").st_mode
    assert time.time() - os.stat(tmp_path / "a").st_mtime < 60


def test_what_cannot_be_written_is_said_in_a_line():
    hidden = RuntimeError("PytorchStreamWriter failed")
    hidden.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/tmp/.a.ckpt.0123abcd.part.ckpt")
    line = str(cannot_write(hidden))
    assert line.startswith("cannot write /tmp/a.ckpt: no space left on device; ")
    assert line.endswith("MB are free there: make room, or choose another place")
    serialised = Exception("Error while serializing: I/O error: Read-only file system (os error 30)")
    assert (
        str(cannot_write(serialised, "x.safetensors")) == "cannot write x.safetensors: read-only file system"
    )
    bus = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that …")
    assert "set data.workers=0" in str(cannot_write(bus))
    assert cannot_write(ValueError("no")) is None
    assert cannot_write(OSError(errno.ENOENT, "No such file or directory", "x")) is None


def test_a_link_stays_one_and_what_is_no_file_is_written_to(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    written.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    written.write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    written.write_text(tmp_path.__class__("/dev/null"), "x")
