"""Ranking results, scored by their owners or against a private truth."""

import csv
import json
import os
import shutil

import numpy as np
import pytest

from davis_exp.cli import main
from davis_exp.results.leaderboard import Entry, as_markdown, rows
from davis_exp.results.pages.leaderboard import as_html
from davis_exp.runs.score import read as read_score
from davis_exp.utils.errors import BadInput, CannotWrite


def entry(name, contest, **score):
    return Entry(name, {"contest": {"segmentation_metric": contest}, "davis2016": {"J&F": 0.5}, **score})


def test_ties_share_a_place_and_unscored_come_last():
    board = rows([entry("d", None), entry("b", 0.8), entry("a", 0.7), entry("c", 0.8), entry("e", 0.1)])
    assert [(row["rank"], row["name"]) for row in board] == [
        (1, "b"),
        (1, "c"),
        (3, "a"),
        (4, "e"),
        (None, "d"),
    ]


def shifted(pixels):
    return lambda mask, index: np.roll(mask, pixels, axis=1).astype(np.float32)


@pytest.fixture
def runs(tmp_path, make_results, truth):
    """Two scored runs, as training leaves them, and one that never finished."""
    for name, pixels in (("good", 1), ("poor", 6)):
        folder = make_results(shifted(pixels), f"runs/{name}/results", nflops=2 * 10**9, entity="ada|<b>")
        assert main(["score", str(folder), str(truth), "--json", str(folder.parent / "score.json")]) == 0
    (tmp_path / "runs" / "unfinished").mkdir()
    return tmp_path / "runs"


def test_scored_runs(runs, tmp_path, capsys):
    capsys.readouterr()
    files = {name: tmp_path / f"board.{name}" for name in ("csv", "markdown", "html")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    assert main(["leaderboard", *sorted(map(str, runs.iterdir())), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    scores, costs = ["contest", "J", "F", "J&F", "BIoU"], ["parameters", "GFLOPs"]
    assert lines[0].split() == ["rank", "name", *scores, *costs, "when", "who"]
    assert lines[1].split()[:2] == ["1", "runs/good"]
    assert lines[2].split()[:2] == ["2", "runs/poor"]
    assert "1,000" in lines[1]
    assert "2.00" in lines[1]

    with files["csv"].open() as file:
        table = list(csv.DictReader(file))
    stored = read_score(runs / "good")
    assert float(table[0]["contest"]) == stored["contest"]["segmentation_metric"]
    assert table[0]["parameters"] == "1000"
    assert "ada\\|&lt;b&gt;" in files["markdown"].read_text()
    page = files["html"].read_text()
    assert "ada|&lt;b&gt;" in page
    assert page.count("<tr>") == 3

    assert main(["leaderboard", str(runs)]) == 0  # a folder above them finds the same
    assert capsys.readouterr().out.splitlines() == lines
    copy = shutil.copy(runs / "good/score.json", tmp_path / "mine.json")
    assert main(["leaderboard", str(copy)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == f"{tmp_path.name}/mine"


def test_a_page_replaces_no_work_of_others(runs, tmp_path, capsys):
    page = tmp_path / "mine.html"
    page.write_text("mine")
    assert main(["leaderboard", str(runs), "--html", str(page)]) == 2
    assert "no page of davis-exp; choose another --html, or --overwrite" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert main(["leaderboard", str(runs), "--html", str(page), "--overwrite"]) == 0
    assert page.read_text() != "mine"
    assert main(["leaderboard", str(runs), "--html", str(page)]) == 0  # its own page is made anew


def test_private_truth(runs, tmp_path, truth, results, capsys):
    shutil.make_archive(str(tmp_path / "zipped"), "zip", runs / "poor" / "results")
    (results / "metadata.json").write_text("{}")
    capsys.readouterr()
    paths = [runs / "good", tmp_path / "zipped.zip", results]
    assert main(["leaderboard", *map(str, paths), "--private", str(truth)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "-"]
    assert "invalid" in lines[3]
    expected = f"invalid: {tmp_path.parent.name}/{tmp_path.name}: metadata.json: nparams is missing"
    assert lines[4].startswith(expected)
    scores = [100 * read_score(runs / name)["contest"]["mean_iou"] for name in ("good", "poor")]
    assert [float(line.split()[2]) for line in lines[1:3]] == pytest.approx(scores, abs=0.005)
    assert main(["leaderboard", str(results), "--private", str(truth)]) == 2  # nothing valid at all


def test_private_truth_wants_the_number_of_parameters(tmp_path, truth, capsys):
    """A folder of masks alone has no nparams: it must not pass by the limit."""
    plain = shutil.copytree(truth / "Annotations" / "480p", tmp_path / "masks")
    page = tmp_path / "board.html"
    arguments = ["leaderboard", str(plain), "--private", str(truth), "--html", str(page)]
    assert main(arguments) == 2
    assert f"invalid: {tmp_path.name}/masks: a plain folder states no nparams" in capsys.readouterr().out
    assert "masks: a plain folder states no nparams" in page.read_text()
    assert "J&amp;F" in page.read_text()
    assert main([*arguments, "--limit", "none"]) == 0
    assert "100.00" in capsys.readouterr().out
    assert main([*arguments, "--limit", "lots"]) == 2
    assert "'lots' is no number of parameters" in capsys.readouterr().err


TOO_GOOD = {"contest": {"segmentation_metric": 7}, "davis2016": {}, "all_frames": {}, "sequences": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no score"),
        ('{"contest": {}, "davis2016": {}}', "is no score"),
        (json.dumps(TOO_GOOD), "segmentation_metric says 7, but its own frames come to None"),
    ],
)
def test_what_is_no_score(tmp_path, content, message):
    (tmp_path / "score.json").write_text(content)
    with pytest.raises(BadInput, match=message):
        read_score(tmp_path)


def test_nothing_scored(tmp_path, capsys):
    assert main(["leaderboard", str(tmp_path)]) == 2
    assert main(["leaderboard", str(tmp_path / "score.json")]) == 2
    assert "no score.json" in capsys.readouterr().err


def test_names_of_strangers_are_harmless():
    hostile = rows([entry("x\x1b[31m\n| y", 0.5, model="=cmd()|<script>", entity="<img src=x>")])
    assert "<script>" not in as_html(hostile)
    assert "<img" not in as_markdown(hostile)
    assert len(as_markdown(hostile).splitlines()) == 3
    assert "\x1b" not in rows([entry("x\x1b[31m", 0.5)])[0]["name"]


def test_formulas_do_not_reach_a_spreadsheet(tmp_path):
    from davis_exp.results.output import write_csv

    write_csv(tmp_path / "new" / "b.csv", rows([entry("=1+1", 0.5)]))
    assert "'=1+1" in (tmp_path / "new" / "b.csv").read_text()
    with pytest.raises(CannotWrite, match="cannot write"):
        write_csv(tmp_path / "new", [{"a": 1}])


def test_score_writes_its_files(results, truth, tmp_path, capsys):
    options = ["--csv", str(tmp_path / "s.csv"), "--cache", str(tmp_path / "kept"), "--protocol", "contest"]
    assert main(["score", str(results), str(truth), *options, "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "mean IoU" in out
    assert "DAVIS-2016" not in out
    assert len(list((tmp_path / "kept").iterdir())) == 2
    with (tmp_path / "s.csv").open() as file:
        assert [row["sequence"] for row in csv.DictReader(file)] == ["swan", "bus", "all"]
    assert main(["score", str(results), str(truth), "--stability-of", "tram"]) == 2
    assert main(["score", "--stability", str(results), str(truth)]) == 0
    assert " T " in capsys.readouterr().out.splitlines()[1] + " "
    assert main(["score", str(results), str(tmp_path)]) == 2
    assert os.listdir(tmp_path / "kept")


def test_scores_of_different_frames_are_marked(tmp_path, capsys):
    from davis_exp.metrics.protocols import summary
    from davis_exp.runs import score as scores

    for name, frames in (("a", ["x/0", "x/1"]), ("b", ["x/0", "x/1"]), ("c", ["x/0"])):
        (tmp_path / name).mkdir()
        scores.write(
            tmp_path / name, summary({"x": (frames, dict.fromkeys(("iou", "J", "F"), [0.5] * len(frames)))})
        )
    assert main(["leaderboard", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "mixed" not in capsys.readouterr().err
    assert main(["leaderboard", str(tmp_path)]) == 0
    assert "2 different sets of frames" in capsys.readouterr().err
