"""`davis-exp data` from its command line."""

import http.server
import threading
import zipfile
from functools import partial

import numpy as np
import pytest

from davis_exp.cli import main
from davis_exp.data.sources import ContestSource, DavisSource, open_source

GENERATE = (
    "data",
    "generate",
    "--train",
    "3",
    "--test",
    "2",
    "--size",
    "32x48",
    "--length",
    "4",
    "--distractors",
    "1",
)


@pytest.fixture
def generated(tmp_path, capsys):
    assert main([*GENERATE, str(tmp_path / "made")]) == 0
    capsys.readouterr()
    return tmp_path / "made"


def test_generate(tmp_path, capsys):
    assert main([*GENERATE, str(tmp_path / "made"), "--seed", "7"]) == 0
    said = capsys.readouterr()
    assert f"data.root={tmp_path / 'made'}" in said.out
    assert "5 of 5 sequences" in said.err
    source = DavisSource(tmp_path / "made")
    assert [len(s) for s in source.sequences("train")] == [4, 4, 4]
    assert [s.size for s in source.sequences("test")] == [(32, 48)] * 2


def test_export_there_and_back(generated, tmp_path, capsys):
    contest, back = tmp_path / "contest", tmp_path / "back"
    assert main(["data", "export", str(generated), str(contest), "--to", "contest"]) == 0
    assert "train 12 frames, test 8 frames" in capsys.readouterr().out
    assert isinstance(open_source(contest), ContestSource)
    assert main(["data", "export", str(contest), str(back), "--to", "davis"]) == 0
    for stage in ("train", "test"):
        one, two = (open_source(folder).sequences(stage) for folder in (generated, back))
        assert [s.frame_ids for s in one] == [s.frame_ids for s in two]
        for a, b in zip(one, two, strict=True):
            assert np.array_equal(a.frame(1), b.frame(1))
            assert np.array_equal(a.mask(1), b.mask(1))


def test_export_of_one_stage(generated, tmp_path):
    (generated / "ImageSets/32p/train.txt").unlink()
    out = str(tmp_path / "contest")
    assert main(["data", "export", str(generated), out, "--to", "contest"]) == 2
    assert main(["data", "export", str(generated), out, "--to", "contest", "--stages", "test"]) == 0
    assert len(open_source(out).sequences("test")) == 2


def test_download(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("DAVIS/ImageSets/480p/train.txt", "x")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/a.zip"
    assert main(["data", "download", "davis2016", str(tmp_path / "DAVIS"), "--url", url]) == 0
    server.shutdown()
    server.server_close()
    assert (tmp_path / "DAVIS/ImageSets/480p/train.txt").read_text() == "x"
    said = capsys.readouterr()
    assert "MB" in said.err
    assert "davis-exp train data=davis" in said.out


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache of 3 bytes of flow, and 5 of features on another disk; something else lies beside them."""
    monkeypatch.setenv("DAVIS_EXP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "disk/ab12").mkdir(parents=True)
    (tmp_path / "disk/ab12/0.npy").write_bytes(b"12345")
    (tmp_path / "cache/flow/ab").mkdir(parents=True)
    (tmp_path / "cache/flow/ab/12").write_bytes(b"1")
    (tmp_path / "cache/flow/ab/34").write_bytes(b"23")
    (tmp_path / "cache/mine.txt").write_text("not ours")
    (tmp_path / "cache/features").symlink_to(tmp_path / "disk")
    return tmp_path / "cache"


def test_the_cache_is_listed(kept, capsys):
    assert main(["data", "cache"]) == 0
    where, *kinds = capsys.readouterr().out.splitlines()
    assert where == str(kept)
    assert [line.split()[:3] for line in kinds] == [
        ["artifacts", "0", "files,"],
        ["decoded", "0", "files,"],
        ["features", "1", "file,"],
        ["flow", "2", "files,"],
        ["speed", "0", "files,"],
    ]
    assert (kept / "flow/ab/34").is_file()


def test_a_kind_of_the_cache_is_cleared_and_then_all(kept, capsys):
    assert main(["data", "cache", "--clear", "flow"]) == 0
    assert capsys.readouterr().out == f"{kept}/flow: removed 2 files, 0.00 GB\n"
    assert not list((kept / "flow").iterdir())
    assert (kept / "features/ab12/0.npy").is_file()
    assert main(["data", "cache", "--clear"]) == 0
    assert "features: removed 1 file," in capsys.readouterr().out
    assert (kept / "features").is_symlink()
    assert not list((kept / "features").iterdir())
    assert (kept / "mine.txt").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cache", "--clear", "flows"], "flow"),
        (["generate", "{}"], "not empty"),
        (["generate", "{}/new", "--distractors", "9"], "data.distractors"),
        (["generate", "{}/new", "--size", "big"], "HEIGHTxWIDTH"),
        (["export", "{}/nowhere", "{}/new", "--to", "davis"], "no data set at"),
        (["export", "{}", "{}", "--to", "contest"], "not empty"),
        (["download", "davis3000", "{}/new"], "davis2016"),
        ([], "ACTION"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(generated, capsys, arguments, said):
    assert main(["data", *(a.format(generated) for a in arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize("action", [[], ["generate"], ["download"], ["export"], ["check"], ["cache"]])
def test_help_has_an_example(action, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["data", *action, "--help"])
    assert " ".join(["davis-exp", "data", *(action or ["generate"])]) in " ".join(
        capsys.readouterr().out.split()
    )
    assert main(["--version"]) == 0
