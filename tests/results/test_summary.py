"""A sweep's summary, from folders as jobs leave them."""

import csv
import itertools
import re
import shutil
import statistics
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from davis_exp.metrics.protocols import summary as summarised
from davis_exp.results import summary
from davis_exp.results.pages import sweep
from davis_exp.runs import score as scores


def job(
    sweep: Path, number: int, *own: str, state: str = "finished", score: float | None = None, **fields
) -> tuple[Path, dict]:
    """A job's folder and its status; `score` is what it got on its test."""
    folder = sweep / str(number)
    folder.mkdir()
    if score is not None:
        raw = {"iou": [score] * 3, "J": [score] * 3, "F": [0.0] * 3}
        scores.write(folder, summarised({"x": (["x/0", "x/1", "x/2"], raw)}))
    record = {"job": number, "state": state, "overrides": ["data=generated", *own], "test_split": "holdout"}
    return folder, record | fields


@pytest.fixture
def jobs(tmp_path: Path) -> list[tuple[Path, dict]]:
    """Two encoders with two seeds each, and jobs that ended otherwise."""
    made = [
        job(tmp_path, 0, "encoder=a", "seed=0", objective=0.5, nparams=10, nflops=3, seconds=60.0, score=0.4),
        job(tmp_path, 1, "encoder=a", "seed=1", objective=0.7, nparams=10, nflops=3, seconds=60.0, score=0.9),
        job(tmp_path, 2, "encoder=b", "seed=0", objective=0.65, nparams=20, seconds=6.0),
        job(tmp_path, 3, "encoder=b", "seed=1", state="failed", error="RuntimeError: <boom>", objective=0.99),
        job(tmp_path, 4, "encoder=c", "seed=0", state="over_budget", nparams=99),
        job(tmp_path, 5, "encoder=c", "seed=1", state="queued"),
    ]
    (tmp_path / "3/error.txt").write_text("Traceback of 3\n  in <forward>")
    (tmp_path / "3/train.log").write_text("\n".join(f"line {i}" for i in range(100)))
    return made


def test_rows_are_ordered_by_the_held_out_clips_and_failures_have_no_score(jobs) -> None:
    rows = summary.rows(jobs)
    assert [row.job for row in rows] == ["1", "2", "0", "3", "4", "5"]
    assert [row.objective for row in rows] == [0.7, 0.65, 0.5, None, None, None]
    assert [row.choices for row in rows[:2]] == [{"encoder": "a", "seed": "1"}, {"encoder": "b", "seed": "0"}]
    assert [row.job for row in rows if row.failed] == ["3", "5"]


def test_scores_on_test_sequences_are_marked_and_do_not_order(tmp_path: Path) -> None:
    rows = summary.rows(
        [
            job(tmp_path, 0, "a=1", objective=0.2, score=0.9, test_split="test"),
            job(tmp_path, 1, "a=2", objective=0.3, score=0.1, test_split="holdout"),
            job(tmp_path, 2, "a=3", objective=float("nan"), score=1.0, test_split="test"),
        ]
    )
    assert [row.job for row in rows] == ["1", "0", "2"]
    names = ("contest", "J", "F", "J&F", "BIoU")
    assert summary.headings(rows) == [
        *(f"holdout {name}" for name in names),
        *(f"test {name} (not for selection)" for name in names),
    ]
    assert rows[1].scores["test J&F (not for selection)"] == 0.45


def test_seeds_are_aggregated(jobs) -> None:
    first, second = summary.groups(summary.rows(jobs))
    assert (second.choices, second.mean, second.number) == ({"encoder": "a"}, pytest.approx(0.6), 2)
    assert second.deviation == pytest.approx(statistics.stdev([0.5, 0.7]))
    assert (first.choices, first.mean, first.deviation) == ({"encoder": "b"}, 0.65, None)
    assert second.gain is None  # the sweep's first choices
    assert first.gain == (pytest.approx(0.15), None, 1)  # by the one seed that both have
    assert "encoder=a: hold-out J 60.00 ± 14.14 over 2 trainings" in summary.as_text(summary.rows(jobs))
    assert summary.groups(summary.rows([job_ for job_ in jobs if "seed=0" in job_[1]["overrides"]])) == []


def test_gains_are_taken_seed_by_seed(tmp_path: Path) -> None:
    """Seeds that differ by far more than the choices do not hide what a choice is worth."""
    values = {"none": (0.9, 0.2, 0.5), "light": (0.95, 0.27, 0.53)}
    made = [
        job(tmp_path, 3 * k + seed, f"augmentation={name}", f"seed={seed}", objective=value, seconds=1.0)
        for k, (name, own) in enumerate(values.items())
        for seed, value in enumerate(own)
    ]
    better, first = summary.groups(summary.rows(made))
    assert first.name == "augmentation=none"
    assert first.gain is None
    assert better.gain == (pytest.approx(0.05), pytest.approx(0.02), 3)
    assert "against the first choices +5.00 ± 2.00" in summary.as_text(summary.rows(made))


def test_folds_are_repeats_too(tmp_path: Path) -> None:
    values = {("bce", 0): 0.5, ("bce", 1): 0.9, ("jaccard", 0): 0.6, ("jaccard", 1): 0.94}
    made = [
        job(tmp_path, i, f"loss={loss}", f"data.fold={fold}", objective=value)
        for i, ((loss, fold), value) in enumerate(values.items())
    ]
    better, first = summary.groups(summary.rows(made))
    assert (better.name, first.name) == ("loss=jaccard", "loss=bce")
    assert better.gain == (pytest.approx(0.07), pytest.approx(statistics.stdev([0.1, 0.04])), 2)


def test_the_front_has_what_nothing_smaller_matches(tmp_path: Path) -> None:
    values = [(10, 0.5), (10, 0.6), (20, 0.6), (30, 0.9), (40, 0.7), (5, 0.1), (None, 0.95)]
    made = [
        job(tmp_path, i, f"a={i}", objective=score, nparams=size) for i, (size, score) in enumerate(values)
    ]
    assert [(row.parameters, row.objective) for row in summary.front(summary.rows(made))] == [
        (5, 0.1),
        (10, 0.6),
        (30, 0.9),
    ]


def test_the_csv_has_a_column_for_what_varies_and_a_row_for_every_job(jobs, tmp_path: Path) -> None:
    summary.write_table(tmp_path, summary.rows(jobs))
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {"encoder", "seed", "state", "holdout_J", "parameters", "seconds", "error"} <= set(rows[0])
    assert "data" not in rows[0]  # all jobs have it
    assert (rows[0]["encoder"], rows[0]["holdout_J"], rows[0]["holdout contest"]) == ("a", "0.7", "0.9")
    assert not list(tmp_path.glob(".summary.*"))


def test_the_page_asks_for_nothing_and_shows_what_went_wrong(jobs) -> None:
    text = sweep.page("<name>", summary.rows(jobs))
    assert not re.search(r"""\ssrc=|href="(\w+:|/)|@import|url\(""", text)
    assert set(re.findall(r"https?://[^\s\"<]+", text)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not a place
    assert "<name>" not in text
    assert "RuntimeError: &lt;boom&gt;" in text
    assert "in &lt;forward&gt;" in text
    assert "line 99" in text
    assert "line 69\n" not in text  # the end of the log only
    pictures = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert [len([e for e in p.iter() if e.tag.endswith("circle")]) for p in pictures] == [3, 3, 3]
    assert "Effect of encoder" in text
    assert "60.00 ± 14.14" in text


def test_numbers_that_vary_much_become_an_axis(tmp_path: Path) -> None:
    made = [
        job(tmp_path, i, f"optimizer.lr={10.0**-i}", objective=i / 20, nparams=4, limit=5) for i in range(10)
    ]
    text = sweep.page("search", summary.rows(made))
    svg = ET.fromstring(re.findall(r"<svg.*?</svg>", text, re.DOTALL)[1])
    across = sorted(float(e.get("cx") or 0) for e in svg.iter() if e.tag.endswith("circle"))
    steps = [after - before for before, after in itertools.pairwise(across)]
    assert steps == pytest.approx([steps[0]] * 9, abs=0.2)  # evenly spaced: a logarithmic axis
    first = ET.fromstring(re.findall(r"<svg.*?</svg>", text, re.DOTALL)[0])
    assert [e.tag.rpartition("}")[2] for e in first.iter() if e.get("class") == "limit"] == ["line"]


def test_a_sweep_without_any_result_has_a_page_too(tmp_path: Path) -> None:
    assert "1 queued" in sweep.page("x", summary.rows([job(tmp_path, 0, state="queued")]))
    assert summary.rows([]) == []
    sweep.write(tmp_path, [])
    assert (tmp_path / "summary.html").is_file()


def test_a_browser_draws_the_pictures_offline(jobs, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to look at the page with")
    sweep.write(tmp_path, summary.rows(jobs))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,2200"]
    command += ["--proxy-server=127.0.0.1:9", "--hide-scrollbars", f"--screenshot={tmp_path / 'page.png'}"]
    subprocess.run(
        [*command, f"file://{tmp_path}/summary.html"], check=True, capture_output=True, timeout=120
    )
    with Image.open(tmp_path / "page.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = np.abs(pixels - (0x1F, 0x5F, 0xA8)).sum(-1) < 30  # the front, and means in the pictures of effects
    assert blue.sum() > 200
    assert len(np.flatnonzero(np.diff(np.flatnonzero(blue.any(1))) > 200)) >= 2  # in three pictures
