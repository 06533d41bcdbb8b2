import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from davis_exp.data import cache
from davis_exp.data.cache import FileCache


def test_reads_back_what_was_written(tmp_path):
    kept = FileCache(tmp_path / "new")
    name = cache.key("a", 1)
    assert name not in kept
    assert kept.read(name) is None
    kept.write(name, b"one")
    kept.write(name, b"two")
    assert name in kept
    assert kept.read(name) == b"two"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [kept.path(name).name]


def test_keys_differ_with_every_ingredient():
    lists = [
        (),
        ("a",),
        (b"a",),
        ("a", "b"),
        ("ab",),
        (b"a", b"b"),
        (b"ab",),
        (1,),
        ("1",),
        (1.0,),
        ((1, 2),),
    ]
    assert len({cache.key(*ingredients) for ingredients in lists}) == len(lists)
    assert cache.key(b"a", 1) == cache.key(b"a", 1)


def test_a_process_killed_while_writing_leaves_nothing_or_all(tmp_path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from davis_exp.data.cache import FileCache\n"
        "kept = FileCache(Path(sys.argv[1]))\n"
        "print('go', flush=True)\n"
        "while True:\n"
        "    for letter in b'xyz':\n"
        "        kept.write('key0', bytes([letter]) * 50_000_000)\n"
    )
    for delay in (0.02, 0.05, 0.09):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
        content = FileCache(tmp_path).read("key0")
        assert content is None or (len(content) == 50_000_000 and len(set(content)) == 1)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    kept = FileCache(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        kept.write("key0", b"content")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_where_nothing_can_be_kept_it_says_so_once(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    kept = FileCache(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        kept.write("key0", b"x")
        kept.write("key1", b"x")
    assert kept.read("key0") is None
    (record,) = caplog.records
    assert str(tmp_path / "file") in record.getMessage()


def test_the_default_folder_can_be_moved(monkeypatch):
    monkeypatch.setenv("DAVIS_EXP_CACHE", "/elsewhere")
    assert cache.default_folder("flow") == Path("/elsewhere/flow")
    monkeypatch.delenv("DAVIS_EXP_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache.default_folder("flow") == Path("/home/somebody/.cache/davis_exp/flow")
