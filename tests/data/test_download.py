import hashlib
import io
import re
import threading
import warnings
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from davis_exp.data.download import ARCHIVES, download
from davis_exp.utils.errors import BadInput

FILES = {
    "DAVIS/ImageSets/480p/train.txt": b"a\n",
    "DAVIS/JPEGImages/480p/a/00000.jpg": bytes(range(256)) * 9000,
}


def zipped(files):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


class Server:
    """A file server on loopback that knows Range, and can be told to forget it or to break off."""

    def __init__(self) -> None:
        self.body = zipped(FILES)
        self.ranges = True
        self.break_after: int | None = None
        self.asked: list[str | None] = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                outer.asked.append(wanted)
                if self.path != "/DAVIS-data.zip":
                    self.send_error(404)
                    return
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and outer.ranges else 0
                size = len(outer.body)
                if start >= size:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if wanted and outer.ranges else 200)
                if wanted and outer.ranges:
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                self.send_header("Content-Length", str(size - start))
                self.end_headers()
                end = size if outer.break_after is None else start + outer.break_after
                self.wfile.write(outer.body[start:end])
                outer.sent += end - start
                self.close_connection = True

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/DAVIS-data.zip"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    served = Server()
    yield served
    served.http.shutdown()
    served.http.server_close()


def refusal(*args, **kwargs):
    with pytest.raises(BadInput) as caught:
        download(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def holds_davis(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == {
        name.removeprefix("DAVIS/"): content for name, content in FILES.items()
    }


def test_download_checks_unpacks_and_reports(server, tmp_path):
    seen = []
    digest = hashlib.sha256(server.body).hexdigest()
    folder = download(
        server.url, tmp_path / "data" / "DAVIS", sha256=digest.upper(), report=lambda *n: seen.append(n)
    )
    assert holds_davis(folder)
    assert [p.name for p in folder.parent.iterdir()] == ["DAVIS"], (
        "no archive and no temporary folder is left"
    )
    assert seen[-1] == (len(server.body), len(server.body))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 1


def test_an_interrupted_download_goes_on_where_it_was(server, tmp_path):
    server.break_after = 1_500_000
    assert "run the same command" in refusal(server.url, tmp_path / "DAVIS")
    have = (tmp_path / "DAVIS.download.zip.part").stat().st_size
    assert 1_400_000 < have <= 1_500_000  # what is lost is less than a block
    assert not (tmp_path / "DAVIS").exists()
    server.break_after = None
    seen = []
    assert holds_davis(download(server.url, tmp_path / "DAVIS", report=lambda *n: seen.append(n)))
    assert server.asked == [None, f"bytes={have}-"]
    assert server.sent == 1_500_000 + len(server.body) - have
    assert seen[-1] == (len(server.body), len(server.body))


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "DAVIS.download.zip.part").write_bytes(b"x" * 1000)
    assert holds_davis(download(server.url, tmp_path / "DAVIS"))


def test_a_complete_part_needs_nothing_more(server, tmp_path):
    (tmp_path / "DAVIS.download.zip.part").write_bytes(server.body)
    assert holds_davis(download(server.url, tmp_path / "DAVIS"))
    assert server.sent == 0


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    (tmp_path / "DAVIS.download.zip.part").write_bytes(server.body + b"more")
    assert "did not fit" in refusal(server.url, tmp_path / "DAVIS")
    assert holds_davis(download(server.url, tmp_path / "DAVIS"))


def test_what_is_no_address_is_called_so(tmp_path):
    for nonsense in ("nonsense", "http://"):
        assert "no address of an archive" in refusal(nonsense, tmp_path / "DAVIS")


def test_a_wrong_checksum_is_refused(server, tmp_path):
    assert "checksum" in refusal(server.url, tmp_path / "DAVIS", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_or_not_a_zip_is_refused(server, tmp_path):
    assert "404" in refusal(server.url + "x", tmp_path / "DAVIS")
    server.body = b"<html>moved</html>"
    assert "not a zip archive" in refusal(server.url, tmp_path / "DAVIS")
    assert list(tmp_path.iterdir()) == [], "the next call must not find the same page again"
    server.http.shutdown()
    server.http.server_close()
    assert "failed" in refusal(server.url, tmp_path / "DAVIS")


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil", "DAVIS/../../evil", "..\\evil", "C:\\evil", "C:/evil"]
)
def test_names_that_point_outside_are_refused(server, tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.body = zipped({"DAVIS/fine.txt": b"", name: b"evil"})
    assert "points outside" in refusal(server.url, tmp_path / "deep" / "DAVIS")
    assert not (tmp_path / "deep" / "DAVIS").exists()
    assert not list(tmp_path.rglob("*evil*"))


def test_an_archive_without_an_outermost_folder(server, tmp_path):
    server.body = zipped({"a/x": b"1", "b/y": b"2"})
    folder = download(server.url, tmp_path / "DAVIS")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "a/x",
        "b/y",
    ]


def test_a_folder_in_use_is_refused_before_anything_is_fetched(server, tmp_path):
    (tmp_path / "DAVIS").mkdir()
    (tmp_path / "DAVIS" / "mine").write_text("")
    assert "not empty" in refusal(server.url, tmp_path / "DAVIS")
    assert server.asked == []


def test_the_official_archive_is_https_of_eth():
    assert re.fullmatch(r"https://[\w.]*ethz\.ch/.*\.zip", ARCHIVES["davis2016"])
