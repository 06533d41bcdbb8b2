"""`davis-exp report` and `compare --html`: which data and which model a run's page is about."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
import yaml

from davis_exp.cli import main
from davis_exp.config.parts import INFERENCE
from davis_exp.data.sources import ContestSource
from davis_exp.experiment import build
from davis_exp.results.artifact import Results, ResultsWriter
from davis_exp.results.output import write_json
from davis_exp.results.scoring import score

CLIPS = ("a.b", "a b", "a_b")  # alike but for what an id cannot hold
SIZE = (24, 36)


@pytest.fixture
def contest(tmp_path):
    """Three clips in the contest's layout, in the folder that runs are started in."""
    root, table = tmp_path / "start/davis", {"raw": {}, "annotation": {}}
    for number, name in enumerate(CLIPS):
        (root / name).mkdir(parents=True)
        for i in range(3):
            mask = np.zeros(SIZE, np.uint8)
            mask[4:20, 4 + 4 * number : 24 + i] = 255
            cv2.imwrite(str(root / name / f"{i}.jpg"), np.full((*SIZE, 3), 90, np.uint8))
            cv2.imwrite(str(root / name / f"{i}.png"), mask)
            index = str(len(table["raw"]))
            table["raw"][index], table["annotation"][index] = f"{name}/{i}.jpg", f"{name}/{i}.png"
    (root / "paths.json").write_text(json.dumps(table))
    return root


@pytest.fixture
def make_run(contest, tmp_path):
    """make_run("name", clips) → the folder of a run that was tested on these clips."""

    def made(name, clips=CLIPS, shift=2, missing=0, **config):
        run, start = tmp_path / name, contest.parent
        sequences = [s for s in ContestSource(contest).sequences("test") if s.name in clips]
        frames = [(s, i) for s in sequences for i in range(len(s))]
        with ResultsWriter(run / "results") as writer:
            for sequence, i in frames[missing:]:
                answer = np.roll(sequence.mask(i), shift, 1).astype(np.float32)
                writer.add(sequence.index[i], answer, sequence.frame_ids[i])
            writer.close({"nparams": 1000})
        if not missing:
            write_json(run / "score.json", score(Results.open(run), sequences))
        data = {"_target_": "davis_exp.data.sources.contest.ContestSource", "root": str(contest)}
        (run / ".hydra").mkdir()
        (run / ".hydra/config.yaml").write_text(yaml.safe_dump({"data": data, **config}))
        hydra = {"runtime": {"choices": {}, "cwd": str(start)}}
        (run / ".hydra/hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
        return run

    return made


def headings(page):
    return re.findall(r"<h3>(.*?)</h3>", page.read_text())


@pytest.mark.parametrize("held", CLIPS[:2])
def test_a_hold_out_of_data_without_a_test_stage(make_run, tmp_path, held):
    one, other = make_run("one", [held]), make_run("other", [held], shift=4)
    assert main(["report", str(one)]) == 0
    assert headings(one / "report.html") == [held]
    page = tmp_path / "page.html"
    assert main(["compare", str(one), str(other), "--html", str(page)]) == 0
    assert headings(page) == [held]


def test_a_hold_out_whose_names_the_test_clips_have_too(make_run, contest, tmp_path):
    run = make_run("run", ["a b"])
    (tmp_path / "test").mkdir()
    (tmp_path / "test/a b").symlink_to(contest / "a b")
    cv2.imwrite(str(contest / "a b/3.jpg"), np.full((*SIZE, 3), 90, np.uint8))
    table = {"raw": {str(i): f"a b/{i}.jpg" for i in range(4)}}  # no masks: not what it was tested on
    (tmp_path / "test/paths.json").write_text(json.dumps(table))
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    config["data"]["test_root"] = str(tmp_path / "test")
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["report", str(run)]) == 0
    assert headings(run / "report.html") == ["a b"]


def test_a_clip_that_lacks_a_frame_is_no_reason_to_leave_it_out(make_run, capsys):
    assert main(["report", str(make_run("run", ["a.b", "a b"], missing=1))]) == 2
    assert "index 0 (a.b/0) is missing" in capsys.readouterr().err


def test_clips_of_like_names_have_players_of_their_own(make_run, tmp_path):
    one, other, page = make_run("one"), make_run("other", shift=4), tmp_path / "page.html"
    assert main(["report", str(one), "-o", str(page)]) == 0
    pages = [page.read_text()]
    assert main(["compare", str(one), str(other), "--html", str(page)]) == 0
    for text in [*pages, page.read_text()]:
        ids = re.findall(r'\sid="([^"]*)"', text)
        assert len(ids) == len(set(ids))
        links = dict(re.findall(r'<a href="#(clip-[^"]*)">(.*?)</a>', text))
        shown = dict(re.findall(r'<article id="([^"]*)".*?<h3>(.*?)</h3>', text, re.DOTALL))
        players = dict(re.findall(r'<article id="([^"]*)" data-player="([^"]*)"', text))
        told = {
            place: json.loads(re.search(rf'id="{data}">(.*?)</script>', text)[1])["clip"]
            for place, data in players.items()
        }
        assert links == shown == told
        assert sorted(shown.values()) == sorted(CLIPS)


@pytest.mark.parametrize("nested", [False, True])
def test_data_without_a_slash_is_found_where_the_run_was_started(make_run, tmp_path, monkeypatch, nested):
    run = make_run("run")
    data = {"_target_": "davis_exp.data.sources.contest.ContestSource", "root": "davis", "test_root": "davis"}
    if nested:
        data = {"_target_": "davis_exp.data.sources.mix.MixSource", "parts": {"a": {"source": data}}}
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump({"data": data}))
    (tmp_path / "elsewhere/davis").mkdir(parents=True)  # of that name, but not what was tested on
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["report", str(run)]) == 0


def test_only_paths_are_looked_for(make_run, contest, tmp_path):
    from davis_exp.commands.truth import source
    from davis_exp.results.pages.subject import Run

    run = make_run("run")
    data = {"_target_": "davis_exp.data.sources.davis.DavisSource", "root": "davis", "train": "davis"}
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump({"data": data}))
    found = source(None, Run.of(run), run)
    assert (found.root, found.splits["train"]) == (contest, "davis")  # a split, not the folder of that name


def test_a_test_costs_what_its_own_settings_cost(make_run, compose, contest, tmp_path, monkeypatch):
    cfg = compose("encoder=efficientnet_lite0", "decoder=fpn")
    (contest.parent / "kept").mkdir()
    torch.save({"config": build.plain(cfg), "state_dict": {}}, contest.parent / "kept/best.ckpt")
    null = dict.fromkeys(INFERENCE)
    own = {"flip": True, "scales": [1.0, 0.5]}
    monkeypatch.chdir(tmp_path)
    costs = []
    for name, inference in (("plain", {}), ("more", own)):
        run = make_run(name, checkpoint="kept/best.ckpt", inference=null | inference)
        assert main(["report", str(run)]) == 0
        costs.append(float(re.search(r">total<.*>([\d.,]+)</td></tr>", (run / "report.html").read_text())[1]))
    assert costs[0] == pytest.approx(build.cost(cfg).flops / 1e9, abs=0.01) != 0
    assert costs[1] == pytest.approx(2 * 1.25 * costs[0], rel=0.01)


def test_a_test_of_a_model_that_ships_names_it_and_tells_its_cost(make_run):
    run = make_run("run", checkpoint="zoo/zoo_mobile", inference={"flip": None})
    score = json.loads((run / "score.json").read_text())
    write_json(run / "score.json", score | {"model": "zoo_<mobile>", "nparams": 3_715_489})
    write_json(run / "status.json", {"state": "finished", "command": "test", "seconds": 8.0})
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert 'id="cost"' in page
    top = page[page.index("<header>") : page.index("</header>")]
    assert "Model: zoo_&lt;mobile&gt; · checkpoint zoo/zoo_mobile · 3,715,489 parameters<" in top
    assert "<small>testing, scoring</small>" in page


def test_a_run_of_somebody_else_calls_nothing_but_a_source(make_run, capsys):
    run = make_run("run")
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    config["data"] = {"_target_": "subprocess.check_output", "args": ["true"]}
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["report", str(run)]) == 2
    assert "data._target_ is subprocess.check_output, no data of davis-exp's" in capsys.readouterr().err
