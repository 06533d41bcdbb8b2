"""The board as people meet it: sorted, filtered and clicked in a browser, by day and by night, on a phone, and live."""

import json
import os
import re
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import yaml

from davis_exp.cli import main
from davis_exp.data.sources import open_source
from davis_exp.launch import status
from davis_exp.results.artifact import Results, ResultsWriter
from davis_exp.results.board.content import content
from davis_exp.results.board.entry import Runs
from davis_exp.results.output import write_json
from davis_exp.results.pages import board as page
from davis_exp.results.scoring import score

NAMES = "[...document.querySelectorAll('#body td.run')].map((cell) => cell.textContent)"
HEAD = (
    "[...document.querySelectorAll('#head button')].find((one) => one.textContent.startsWith('optimizer.lr'))"
)
ENCODER = "columnOf('encoder').levels[columnOf('encoder').values[run]]"
MEANS = (
    "[...document.querySelectorAll('table.matrix tbody tr')].map((row) => Number(row.cells[1].textContent))"
)
CELL = "document.querySelector('table.matrix tbody button')"
BOXES = "document.querySelectorAll('#body input')"
TEXTS = "[...document.querySelectorAll('%s')].map((one) => one.textContent.split(':')[0])"
CELLS = "[...document.querySelectorAll('table.matrix tbody tr')].map((row) => row.cells[0].textContent)"


def filter_by(browser, text, number):
    browser.run(f"at('filter').value = {json.dumps(text)}, at('filter').dispatchEvent(new Event('input')), 1")
    browser.until(f"at('count').textContent.startsWith('{number} of')")


@pytest.fixture
def written(make_runs, tmp_path):
    """The page of 120 runs as a file."""
    assert main(["board", str(make_runs(120)), "-o", str(tmp_path / "board.html")]) == 0
    return tmp_path / "board.html"


def test_it_is_sorted_filtered_and_clicked(browser, written):
    browser.open(written)
    assert browser.run("rows.length") == 120
    assert browser.run(f"{NAMES}.length") == 50
    best = browser.run("rows.map((run) => columnOf('J').values[run])")
    assert best[:118] == sorted(best[:118], reverse=True)
    browser.run(f"{HEAD}.click(), 1")
    rates = browser.run("rows.map((run) => columnOf('optimizer.lr').values[run])")
    assert rates == sorted(rates, reverse=True)
    browser.run(f"{HEAD}.click(), 1")
    assert browser.run("rows.map((run) => columnOf('optimizer.lr').values[run])") == sorted(rates)
    expected = browser.run(f"board.runs.filter((_, run) => {ENCODER} === 'mit_b1')")
    filter_by(browser, "encoder=mit_b1", len(expected))
    assert sorted(browser.run(NAMES)) == sorted(expected)
    above = sum(value is not None and value > 0.7 for value in best)
    filter_by(browser, "J>70", above)
    filter_by(browser, "state=failed", 2)
    filter_by(browser, "FAILED", 2)
    filter_by(browser, "sweep0/7", 11)
    filter_by(browser, "nothing-of-that-name", 0)
    filter_by(browser, "", 120)
    browser.run("document.querySelector('#on').click(), 1")
    assert browser.run("at('place').textContent") == "51 to 100"
    assert browser.complaints() == []


def test_chosen_runs_are_drawn_in_front_everywhere(browser, written):
    browser.open(written)
    browser.run(f"{BOXES}[3].click(), {BOXES}[5].click(), 1")
    names = browser.run(NAMES)
    legend = browser.run(TEXTS % "#curves-legend li")
    assert sorted(legend) == sorted([names[3], names[5]])
    assert browser.run("document.querySelectorAll('#scatter-box circle[r=\"6\"]').length") == 2
    heads = browser.run(
        "[...document.querySelectorAll('#matrix-head th.turned')].slice(0, 2).map((head) => head.title)"
    )
    assert sorted(heads) == sorted(legend)
    browser.run("at('none').click(), 1")
    assert browser.run("view.chosen.size") == 0


def test_the_front_and_the_budget_are_drawn(browser, written):
    browser.open(written)
    values = browser.run("rows.map((run) => [columnOf('parameters').values[run], columnOf('J').values[run]])")
    known = [(cost, score) for cost, score in values if score is not None]
    front = {
        (c, s) for c, s in known if not any(oc <= c and os >= s and (oc, os) != (c, s) for oc, os in known)
    }
    assert browser.run("document.querySelectorAll('#scatter-box circle.best').length") == len(front)
    assert browser.run("document.querySelectorAll('#scatter-box line.limit').length") == 1


def test_clips_are_worst_first_for_the_runs_that_are_shown(browser, written):
    browser.open(written)
    means = browser.run(MEANS)
    assert means == sorted(means)
    assert len(means) == 4
    browser.run(f"{CELL}.click(), 1")
    assert browser.run("document.querySelector('#frames h3').textContent").startswith(browser.run(CELLS)[0])
    assert browser.run("document.querySelectorAll('table.matrix [aria-pressed=true]').length") == 1


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_it_breaks_no_basic_rule_of_accessibility(browser, written, rules, width, dark):
    browser.open(written, width=width, dark=dark)
    browser.run(f"{BOXES}[0].click(), {CELL}.click(), 1")
    assert browser.run(rules) == []
    assert browser.complaints() == []


def test_whatever_a_run_says_stays_text(browser, make_run, tmp_path):
    evil = "<img src=x onerror=window.hurt=1></script><script>window.hurt=1</script>"
    folder = make_run("sweep/0", error=evil, state="failed")
    settings = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
    settings["encoder"] = {evil: evil, "x": float("inf")}
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "metrics.csv").write_text(f'step,"{evil}"\n1,0.5\n2,1e29\n')
    make_run("sweep/<b>1", clips={evil.replace("/", "-"): 3})
    assert main(["board", str(tmp_path / "runs"), "-o", str(tmp_path / "board.html")]) == 0
    browser.open(tmp_path / "board.html")
    browser.run(f"{CELL}.click(), 1")
    browser.run(f"at('metric').value = {json.dumps(evil)}, drawCharts(), 1")
    assert browser.run(
        "window.hurt === undefined && !document.querySelector('main img, main b, main script:not([type])')"
    )
    assert evil in browser.run("document.body.textContent")
    assert browser.complaints() == []


@pytest.mark.slow
def test_two_thousand_runs_open_in_two_seconds(browser, make_runs, tmp_path):
    *_, entries = Runs([make_runs(2000)], status.current).look()
    (tmp_path / "board.html").write_text(page.board(content(entries, str), "of many runs"))
    began = time.monotonic()
    browser.open(tmp_path / "board.html")
    assert browser.run("rows.length") == 2000
    assert time.monotonic() - began < 2


@pytest.fixture
def tested(make_run, tmp_path):
    """Two runs that were tested on a small data set, which is still there."""
    clips = {"swan": 4, "bus": 3}
    for clip, number in clips.items():
        for kind in ("JPEGImages", "Annotations"):
            (tmp_path / "davis" / kind / "480p" / clip).mkdir(parents=True)
        for i in range(number):
            mask = np.zeros((48, 70), np.uint8)
            cv2.circle(mask, (20 + 3 * i, 24), 9 + i, 255, -1)
            cv2.imwrite(
                str(tmp_path / f"davis/JPEGImages/480p/{clip}/{i:05d}.jpg"),
                np.full((48, 70, 3), 90, np.uint8),
            )
            cv2.imwrite(str(tmp_path / f"davis/Annotations/480p/{clip}/{i:05d}.png"), mask)
    (tmp_path / "davis/ImageSets/480p").mkdir(parents=True)
    (tmp_path / "davis/ImageSets/480p/val.txt").write_text("swan\nbus\n")
    sequences = open_source(tmp_path / "davis").sequences("test")
    for number in range(2):
        folder = make_run(f"sweep/{number}", clips={})
        with ResultsWriter(folder / "results") as writer:
            for sequence in sequences:
                for i, index in enumerate(sequence.index):
                    answer = np.roll(sequence.mask(i), 2 + 4 * number, 1).astype(np.float32)
                    writer.add(index, answer, sequence.frame_ids[i])
            writer.close({"nparams": 1000})
        write_json(folder / "score.json", score(Results.open(folder), sequences))
        settings = yaml.safe_load((folder / ".hydra/config.yaml").read_text())
        data = {"_target_": "davis_exp.data.sources.davis.DavisSource", "root": str(tmp_path / "davis")}
        (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(settings | {"data": data}))
    return tmp_path / "runs"


def test_frames_are_side_by_side_in_a_file(browser, tested, tmp_path):
    assert main(["board", str(tested), "-o", str(tmp_path / "board.html")]) == 0
    assert re.search(r"1\d pictures of frames are in this file", (tmp_path / "board.html").read_text())
    browser.open(tmp_path / "board.html")
    browser.run(f"{CELL}.click(), 1")
    browser.until("[...document.querySelectorAll('#frames img')].every((image) => image.naturalWidth)")
    first = browser.run(TEXTS % "#frames .panes:first-of-type figcaption")
    assert sorted(set(first)) == ["sweep/0", "sweep/1"]
    assert browser.run("document.querySelectorAll('#frames .panes img').length") >= 4


def test_served_it_follows_the_runs_and_shows_any_frame(browser, tested, make_run):
    command = [sys.executable, "-m", "davis_exp", "board", str(tested), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            url = process.stdout.readline().split()[0]
            browser.open(url)
            browser.until("rows.length === 2")
            browser.until("document.querySelectorAll('#head th[aria-sort=descending]').length === 1")
            assert "hold-out J ↓" in browser.run("at('head').textContent")
            browser.run("document.querySelector('#body input').click(), 1")
            browser.run(f"{CELL}.click(), 1")
            browser.until("document.querySelectorAll('#frames img').length >= 4")
            browser.until(
                "[...document.querySelectorAll('#frames img')].every((image) => image.naturalWidth)"
            )
            make_run("sweep/2", state="running", lr=0.01)
            browser.until("rows.length === 3")
            assert browser.run("view.chosen.size") == 1
            assert browser.run("at('live').textContent") == "live"
            assert browser.complaints(url) == []
        finally:
            process.terminate()
