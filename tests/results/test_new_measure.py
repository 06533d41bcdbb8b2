"""A measure from outside the package, a function and a row: every table, page, option and file has it."""

import csv
import html
import json
import re

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from davis_exp.cli import main
from davis_exp.metrics.measures import MEASURES, Measure
from davis_exp.results import summary
from davis_exp.results.pages import sweep
from davis_exp.runs import score as scores
from davis_exp.tracking.artifacts import headline
from davis_exp.utils.errors import BadInput


def centre_distance(prediction, truth):
    """How far the centres of two masks lie apart, in pixels; None where one is empty."""
    points = [np.argwhere(mask.unpack()) for mask in (prediction, truth)]
    if not all(map(len, points)):
        return None
    return float(np.linalg.norm(np.subtract(*(own.mean(axis=0) for own in points))))


ROW = Measure(
    "CD",
    "distance of the centres",
    centre_distance,
    unit="px",
    higher_is_better=False,
    recall_and_decay=False,
    bounds=(0.0, 1e6),
    gaps=True,
)
SHIFTS = {"near": 2, "far": 6}  # pixels to the right that predictions are off: what the measure is to say


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setitem(MEASURES, ROW.name, ROW)


@pytest.fixture
def runs(added, make_results, truth, tmp_path, capsys):
    """Two scored runs; those that are further off by the new measure have the better name in the alphabet."""
    for name, pixels in SHIFTS.items():
        folder = make_results(lambda mask, i, by=pixels: np.roll(mask, by, 1) * 1.0, f"{name}/results")
        assert main(["score", str(folder), str(truth), "--json", f"{folder.parent}/score.json"]) == 0
    capsys.readouterr()
    return {name: tmp_path / name for name in SHIFTS}


def words(page):
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_score_has_it_in_both_protocols_by_sequence_and_by_frame(runs, sequences, truth, tmp_path, capsys):
    table = tmp_path / "s.csv"
    command = ["score", str(runs["far"] / "results"), str(truth)]
    assert main([*command, "--protocol", "davis2016", "--csv", str(table)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split() == ["sequence", "frames", "J", "F", "J&F", "BIoU", "CD"]
    assert [row.split()[-1] for row in rows if row.startswith(("swan", "bus", "all"))] == ["6.00"] * 3
    with table.open() as file:
        assert [float(row["davis2016_CD"]) for row in csv.DictReader(file)] == pytest.approx([6.0] * 3)
    scored = scores.read(runs["far"])
    for sequence in sequences:
        own = scored["sequences"][sequence.name]
        masks = [sequence.mask(i) for i in range(len(sequence))]
        moved = [center_of_mass(np.roll(mask, 6, 1)) for mask in masks]
        expected = [np.hypot(*np.subtract(a, center_of_mass(b))) for a, b in zip(moved, masks, strict=True)]
        assert own["raw"]["CD"] == pytest.approx(expected)
        assert own["davis2016"]["CD"] == pytest.approx(np.mean(expected[1:-1]))
        assert own["all_frames"]["CD"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda own: own["davis2016"].update(CD=0.1), "davis2016.CD says 0.1, but its own frames come to"),
        (lambda own: own["raw"]["CD"].pop(), "CD is not a number for each of its 5 frames"),
        (lambda own: own["raw"].pop("CD"), "CD is not a number for each of its 5 frames"),
        (lambda own: own["raw"]["CD"].__setitem__(1, -1), "-1 is no CD of a frame"),
        (lambda own: own["raw"]["CD"].__setitem__(1, "2"), "2 is no CD of a frame"),
    ],
)
def test_a_score_that_claims_more_than_its_frames_is_refused(runs, change, why):
    content = json.loads((runs["near"] / "score.json").read_text())
    change(content["sequences"]["swan"])
    (runs["near"] / "score.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=re.escape(why)):
        scores.read(runs["near"])


def test_compare_knows_which_way_is_better(runs, capsys):
    command = ["compare", *map(str, runs.values()), "--measure", "CD"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CD", "near", "far", "difference"]
    assert lines[1].split() == ["swan", "2.00", "6.00", "+4.00"]
    assert lines[-2].startswith("far is better in 0 % of the frames")
    assert lines[-1].startswith("near is ahead by 4.0 ± 0.0 CD")
    assert main([*command, "--protocol", "contest"]) == 0  # which has it not
    assert capsys.readouterr().out.split()[0] == "IoU"
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "{IoU,J,F,J&F,T,BIoU,CD}" in "".join(capsys.readouterr().out.split())


def test_the_leaderboard_has_a_column_and_ranks_by_it(runs, tmp_path, capsys):
    files = {name: tmp_path / f"board.{name}" for name in ("csv", "markdown", "html")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    assert main(["leaderboard", *map(str, runs.values()), "--sort", "CD", *options]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:9] == ["rank", "name", "contest", "J", "F", "J&F", "BIoU", "CD", "(px)"]
    assert [row.split()[1].rpartition("/")[2] for row in rows] == ["near", "far"]
    assert [row.split()[7] for row in rows] == ["2.00", "6.00"]
    with files["csv"].open() as file:
        assert [float(row["CD (px)"]) for row in csv.DictReader(file)] == pytest.approx([2.0, 6.0])
    for name in ("markdown", "html"):
        assert "CD (px)" in files[name].read_text()


def test_pages_show_it(runs, truth, tmp_path, capsys):
    near, far = map(str, runs.values())
    out = tmp_path / "page.html"
    assert main(["report", far, "--truth", str(truth), "--against", near, "-o", str(out)]) == 0
    said = words(out.read_text())
    assert "CD (px) 6.00 distance of the centres: less is better" in said  # among the tiles
    assert re.search(r"far [\d. ]+ 6.00 1,000", said)  # beside the other
    assert re.search(r"near [\d. ]+ 2.00 1,000", said)
    assert re.search(r"swan 5 [\d. ]+ 6.00 ", said)  # by sequence
    assert main(["compare", near, far, "--truth", str(truth), "--html", str(out), "--overwrite"]) == 0
    page = out.read_text()
    assert "CD (px) 2.00 6.00 +4.00 +4.00 … +4.00" in words(page)
    assert page.count('<span class="down">+4.00</span>') == 3  # over all, and in either clip
    assert "in CD" in words(page)


def test_sweeps_and_tracking_have_it(runs, tmp_path):
    scored = scores.read(runs["near"])
    assert headline(scored)["davis2016/CD"] == pytest.approx(2.0)
    status = {"job": 0, "state": "finished", "overrides": ["a=1"], "test_split": "holdout", "objective": 0.5}
    rows = summary.rows([(runs["near"], status)])
    assert rows[0].scores["holdout CD (px)"] == pytest.approx(2.0)
    summary.write_table(tmp_path, rows)
    with (tmp_path / "summary.csv").open() as file:
        assert float(next(csv.DictReader(file))["holdout CD (px)"]) == pytest.approx(2.0)
    said = words(sweep.page("s", rows))
    assert "holdout CD (px)" in said
    assert " 2.00 " in said


def test_a_score_from_before_there_was_the_measure_is_still_read(
    make_results, truth, tmp_path, monkeypatch, capsys
):
    for name, pixels in SHIFTS.items():
        folder = make_results(lambda mask, i, by=pixels: np.roll(mask, by, 1) * 1.0, f"{name}/results")
        assert main(["score", str(folder), str(truth), "--json", f"{folder.parent}/score.json"]) == 0
    monkeypatch.setitem(MEASURES, ROW.name, ROW)
    capsys.readouterr()
    paths = [str(tmp_path / name) for name in SHIFTS]
    assert main(["leaderboard", *paths]) == 0
    assert [line.split()[7] for line in capsys.readouterr().out.splitlines()[1:]] == ["-", "-"]
    assert main(["report", paths[0], "--truth", str(truth), "-o", str(tmp_path / "p.html")]) == 0
    assert main(["compare", *paths, "--truth", str(truth), "--html", str(tmp_path / "c.html")]) == 0
    assert main(["compare", *paths, "--measure", "CD"]) == 2
    assert "no values by frame of CD" in capsys.readouterr().err
    content = json.loads((tmp_path / "near/score.json").read_text())
    content["davis2016"]["CD"] = 0.5
    (tmp_path / "near/score.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"davis2016\.CD says 0.5, but its own frames come to None"):
        scores.read(tmp_path / "near")
