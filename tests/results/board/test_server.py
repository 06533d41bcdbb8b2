"""The board as it is served: to this machine alone, and nothing but what is on it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from davis_exp.launch import status
from davis_exp.results.board.entry import Runs
from davis_exp.results.board.pictures import Pictures
from davis_exp.results.board.server import Live, Server
from davis_exp.utils.errors import BadInput


def no_data(run, folder):
    raise BadInput("no data here")


@pytest.fixture
def served(make_run, tmp_path):
    make_run("sweep/a b%", encoder="mit_b1")
    (make_run("sweep/1") / "report.html").write_text("<p>mine")
    live = Live(Runs([tmp_path / "runs"], status.current), Pictures(no_data), "of runs")
    server = Server(live, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    live.look()
    with live.looking:  # until it has looked
        pass
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_data_are_sent_once_and_again_when_they_change(served, make_run):
    code, headers, body = ask(served, "/data.json")
    assert code == 200
    assert json.loads(body)["runs"] == ["sweep/1", "sweep/a b%"]
    assert ask(served, "/data.json", If_None_Match=headers["ETag"])[0] == 304
    make_run("sweep/2")
    served.live.looked = -1e9
    served.live.look()
    with served.live.looking:
        pass
    code, later, body = ask(served, "/data.json", If_None_Match=headers["ETag"])
    assert code == 200
    assert len(json.loads(body)["runs"]) == 3
    assert later["ETag"] != headers["ETag"]


def test_the_page_asks_nobody_but_this_server(served):
    code, headers, body = ask(served, "/")
    assert code == 200
    assert headers["Content-Type"].startswith("text/html")
    assert re.search(rb"default-src 'none'.*connect-src 'self'", body)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1:1", ""])
def test_another_host_is_refused(served, host):
    assert ask(served, "/data.json", Host=host)[0] == 421


def test_localhost_is_this_machine(served):
    assert ask(served, "/", Host=f"localhost:{served.server_port}")[0] == 200


def test_a_report_comes_without_rights(served):
    code, headers, body = ask(served, "/report/sweep/1")
    assert code == 200
    assert body == b"<p>mine"
    assert headers["Content-Security-Policy"].startswith("sandbox")


@pytest.mark.parametrize(
    "path",
    [
        *("/report/sweep/a%20b%25", "/report/../../etc/passwd", "/report/%2e%2e/%2e%2e/etc/passwd"),
        *("/report/sweep/1/../1/status.json", "/status.json", "//etc/passwd", "/report//etc/passwd"),
        *(
            "/still?run=sweep/1&frame=../../x",
            "/still?run=../x&frame=y",
            "/still",
            "/importance.json?group=x",
        ),
        *("/%00", "/report/%00", "/data.json/../x", "/?x=%ff/../.." + "a" * 3000 + "/"),
    ],
)
def test_nothing_else_is_served(served, path):
    code, _, body = ask(served, path)
    assert code == 404 or (path.startswith("/?") and code == 200)
    assert b"root:" not in body
    assert b"Traceback" not in body


def test_a_report_that_leads_elsewhere_is_not_served(served, tmp_path):
    report = tmp_path / "runs/sweep/1/report.html"
    report.unlink()
    report.symlink_to("/etc/passwd")
    assert ask(served, "/report/sweep/1")[0] == 404


def test_nothing_can_be_changed(served):
    assert ask(served, "/", method="POST")[0] == 501
    assert ask(served, "/", method="HEAD")[2] == b""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(make_run, tmp_path, sent):
    make_run("sweep/0")
    command = [sys.executable, "-m", "davis_exp", "board", "runs", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert "http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "closed\n", "")
