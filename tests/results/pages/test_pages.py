"""What pages say, and what they refuse."""

import base64
import html
import json
import re

import cv2
import numpy as np
import pytest
import yaml

from davis_exp.cli import main
from davis_exp.data.sources import DavisSource
from davis_exp.experiment.build import plain
from davis_exp.metrics.protocols import summary
from davis_exp.results.artifact import Results
from davis_exp.results.comparison import compare
from davis_exp.results.overlay import FALSE_NEGATIVE, FALSE_POSITIVE, PREDICTION, TRUTH, compared
from davis_exp.results.pages import markup
from davis_exp.results.pages.clip import clips
from davis_exp.results.pages.frames import MASK, film, spread, still, width_for
from davis_exp.results.pages.report import report
from davis_exp.results.pages.subject import Run, open_subject, truth_of
from davis_exp.runs import score as scores
from davis_exp.utils.errors import BadInput


def words(page):
    """The text of a page as people read it."""
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def decoded(uri, kind):
    head, _, data = uri.partition(";base64,")
    assert head == f"data:image/{kind}"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def run(make_results, truth, tmp_path, compose):
    """A run's folder, as `train` leaves it."""
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    make_results().rename(folder / "results")
    config = plain(compose("encoder=pixel", "decoder=pixel", f"data.root={truth}", "seed=7"))
    (folder / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    overrides = ["encoder=pixel", "decoder=pixel", "name=a b", "hydra.run.dir=run"]
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
    hydra = {"runtime": {"choices": {"encoder": "pixel", "temporal": "none"}, "cwd": str(tmp_path)}}
    (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    (folder / "metrics.csv").write_text(
        "epoch,step,train/loss,val/J\n0,9,1.5,\n0,9,,0.25\n1,19,nan,\n1,19,0.5,\n1,19,,0.75\n"
    )
    status = {"state": "finished", "command": "train", "revision": "abc123-dirty", "seconds": 3725.0}
    (folder / "status.json").write_text(json.dumps(status | {"objective": 0.75}))
    return folder


def test_the_page_of_a_run_tells_all_of_it(run):
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    said = words(page)
    assert (
        main(
            [
                "score",
                str(run / "results"),
                str(yaml.safe_load((run / ".hydra/config.yaml").read_text())["data"]["root"]),
                "--json",
                str(run / "score.json"),
            ]
        )
        == 0
    )
    score = json.loads((run / "score.json").read_text())
    assert f"contest score {100 * score['contest']['mean_iou']:.2f}" in said
    for name, own in score["sequences"].items():
        assert re.search(rf"{name} J {100 * own['davis2016']['J']['mean']:.2f}, F", said)
    worst, best = sorted(score["sequences"], key=lambda name: score["sequences"][name]["davis2016"]["J&F"])
    assert page.index(f'id="clip-0-{worst}"') < page.index(f'id="clip-1-{best}"')
    assert "centre ellipse is foreground" in said
    assert "git checkout abc123 davis-exp train encoder=pixel decoder=pixel 'name=a b' seed=7" in said
    assert "had changes that this revision does not hold" in said
    assert "hold-out J 75.00" in said
    assert "Model: pixel · 1,000 parameters tested on" in said  # its parts, those called none left out
    assert "1 h 2 min" in said
    assert 'aria-label="train/loss by step"' in page
    assert 'aria-label="val/J by step"' in page
    assert re.search(r"encoder 0 |encoder [\d,]+ ", said)
    assert "under the budget of 50,000,000" in said
    assert "_target_: davis_exp.data.sources.davis.DavisSource" in said


def test_a_page_asks_for_nothing(run):
    main(["report", str(run)])
    page = (run / "report.html").read_text()
    assert set(re.findall(r"https?://[^\s\"<]+", page)) == {
        "http://www.w3.org/2000/svg"
    }  # a name, not a place
    assert not re.search(r"@import|url\(|<link|<iframe", page)
    assert {uri.partition(":")[0] for uri in re.findall(r'\ssrc="([^"]*)"', page)} == {"data"}


def test_other_runs_stand_beside_it(run, make_results, truth, tmp_path):
    other = make_results(lambda mask, index: mask.astype(np.float32), "perfect")
    out = tmp_path / "page.html"
    assert main(["report", str(run), "--against", str(other), "-o", str(out)]) == 0
    said = words(out.read_text())
    assert said.index("perfect 100.00") < said.index("run 8")  # best first
    assert "perfect is ahead by" in said
    assert "J of perfect" in said
    assert main(["report", str(run), "--against", str(run)]) == 2


def test_each_of_several_is_told_by_its_name(run, make_results, tmp_path):
    others = [str(make_results(lambda mask, index: mask.astype(np.float32), name)) for name in ("one", "two")]
    out = tmp_path / "page.html"
    assert main(["report", str(run), *(f"--against={other}" for other in others), "-o", str(out)]) == 0
    said = words(out.read_text())
    assert re.search(r"Against one: \S+ is ahead by", said)
    assert re.search(r"Against two: \S+ is ahead by", said)


def test_names_in_headings_may_be_broken_and_stay_text():
    made = markup.table([("J of lr_0.1/a-<b>", "named"), "n"], [[1, 2]])
    assert '<th scope="col" class="named">J of lr_<wbr>0.1/<wbr>a-&lt;b&gt;</th>' in made


def test_what_is_said_below_a_row_stands_below_that_row():
    made = markup.table(["a", "b"], [[1, 2], [3, 4]], below=["", "<why>"])
    assert made.count('class="below"') == 1
    assert made.index("<td>4</td>") < made.index('<td colspan="2"><p>&lt;why&gt;</p></td>')
    assert "below" not in markup.table(["a", "b"], [[1, 2], [3, 4]])


def test_every_sequence_gets_its_part_in_turn_and_progress_is_told(sequences):
    told = []
    parts = clips(sequences, lambda *given: given, lambda *done: told.append(done))
    assert parts == [(sequences[0], 70, "clip-0-swan"), (sequences[1], 70, "clip-1-bus")]
    assert told == [(1, 2), (2, 2)]
    assert clips(sequences[:1], lambda *given: given[2], None) == ["clip-0-swan"]


def test_results_alone_need_the_truth(results, truth, tmp_path, capsys):
    assert main(["report", str(results)]) == 2
    assert "--truth" in capsys.readouterr().err
    assert main(["report", str(results), "--truth", str(truth)]) == 0
    page = (results.parent / "results.html").read_text()
    assert "To do it again" not in page
    assert "Learning curves" not in page


def test_results_that_lack_a_frame_are_refused(results, truth, capsys):
    next((results / "outputs").glob("*3.png")).unlink()
    assert main(["report", str(results), "--truth", str(truth)]) == 2
    assert "missing" in capsys.readouterr().err


def test_relative_data_is_found_where_the_run_was_started(run, truth, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/set").symlink_to(truth)
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    config["data"]["root"] = "data/set"
    (run / ".hydra/config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(truth)
    assert main(["report", str(run)]) == 0


def test_a_checkpoint_that_is_gone_costs_the_cost_table_only(run):
    config = yaml.safe_load((run / ".hydra/config.yaml").read_text())
    (run / ".hydra/config.yaml").write_text(
        yaml.safe_dump({"data": config["data"], "checkpoint": "gone.ckpt"})
    )
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert 'id="cost"' not in page
    assert 'href="#cost"' not in page


def test_a_score_of_other_frames_is_not_believed(run, sequences):
    scores.write(run, summary({"swan": (["swan/00000"], {key: [0.99] for key in ("iou", "J", "F")})}))
    assert open_subject(run, "run", sequences).score["contest"]["segmentation_metric"] < 0.95


def test_held_out_clips_are_found_in_the_train_stage(truth, sequences, make_results):
    source = DavisSource(truth, train="val", test="nothing")
    (truth / "ImageSets/480p/nothing.txt").write_text("")
    (truth / "ImageSets/480p/one.txt").write_text(
        "/JPEGImages/480p/bus/00000.jpg /Annotations/480p/bus/00000.png\n"
    )
    source = DavisSource(truth, train="val", test="one")
    results = Results.open(make_results())
    held = Results.open(make_results(name="held"))
    held.frames = [frame for frame in held.frames if frame.startswith("swan")]
    assert [s.name for s in truth_of(source, held)] == ["swan"]
    assert [s.name for s in truth_of(DavisSource(truth), results)] == ["swan", "bus"]


def test_unlabelled_data_is_refused(truth, results, tmp_path):
    for part in ("JPEGImages", "ImageSets"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        (tmp_path / "bare" / part).symlink_to(truth / part)
    with pytest.raises(BadInput, match="no masks to compare with"):
        truth_of(DavisSource(tmp_path / "bare"), Results.open(results))


def test_what_strangers_wrote_is_text(results, sequences, tmp_path):
    metadata = json.loads((results / "metadata.json").read_text())
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    (results / "metadata.json").write_text(json.dumps(metadata | {"dataset": evil, "created": evil}))
    subject = open_subject(results, evil, sequences)
    page = report(subject, sequences, others={evil: subject.score})
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 1 + page.count("<script type=")
    assert json.loads(re.search(r'id="x">(.*?)</script>', markup.data("x", {"a": evil}))[1]) == {"a": evil}


def test_a_film_holds_every_frame_and_mask(results, sequences):
    subject, sequence = open_subject(results, "it", sequences), sequences[0]
    shot = film(sequence, [subject], 10_000)  # never wider than the frames are
    assert (shot.height, shot.width) == sequence.size
    assert len(shot.pictures) == len(shot.masks) == len(sequence)
    for i, (mask,) in enumerate(shot.masks):
        bits = decoded(mask, "png")
        np.testing.assert_array_equal(bits & 1, sequence.mask(i) > 0)
        np.testing.assert_array_equal(bits >> 1, subject.mask(sequence, i))
        assert decoded(shot.pictures[i], "webp").shape == (*sequence.size, 3)
    small = film(sequence, [subject], 35)
    assert decoded(small.pictures[0], "webp").shape[:2] == (small.height, small.width) == (24, 35)


def test_noise_takes_less_room(sequences, make_results, monkeypatch):
    noise = np.random.default_rng(0)
    noisy = make_results(lambda mask, index: noise.random(mask.shape).astype(np.float32))
    subject = open_subject(noisy, "noise", sequences)
    monkeypatch.setattr("davis_exp.results.pages.frames.MASK", 300)
    sizes = {decoded(mask, "png").shape for (mask,) in film(sequences[0], [subject], 640).masks}
    assert sizes == {(24, 35), (12, 17)} or sizes == {(12, 17)}
    assert MASK > 300


def test_pictures_are_as_wide_as_there_is_room_for(sequences):
    assert width_for(sequences) == 70  # no wider than the frames

    class Long:
        size = (480, 854)

        def __init__(self, frames):
            self.frames = frames

        def __len__(self):
            return self.frames

    assert width_for([Long(280)]) == 640
    assert 240 < width_for([Long(1000)]) < 640
    assert width_for([Long(10**6)]) == 240


def test_the_worst_frames_are_no_neighbours():
    values = [0.9] * 40
    values[10:13] = [0.1, 0.0, 0.1]
    values[30] = 0.2
    assert spread(values, 2) == [11, 30]
    assert spread([0.3, 0.1, 0.2], 6) == [1, 2, 0]  # few frames: all of them, worst first
    assert spread([], 3) == []


def test_errors_are_coloured_and_masks_outlined():
    frame = np.full((40, 60, 3), 100, np.uint8)
    truth, mask = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    truth[5:35, 5:35] = True
    mask[5:35, 20:55] = True
    drawn = compared(frame, mask, truth).astype(int)
    np.testing.assert_allclose(drawn[20, 45], 45 + 0.55 * np.array(FALSE_POSITIVE), atol=1)
    np.testing.assert_allclose(drawn[20, 10], 45 + 0.55 * np.array(FALSE_NEGATIVE), atol=1)
    assert drawn[20, 27].tolist() == [100] * 3  # where both agree the frame is left as it is
    assert drawn[20, 54].tolist() == list(PREDICTION)
    assert drawn[20, 5].tolist() == list(TRUTH)
    assert frame.max() == 100


def test_a_still_is_the_frame_with_its_errors(results, sequences):
    picture, width, height = still(sequences[0], 1, open_subject(results, "it", sequences))
    assert decoded(picture, "webp").shape == (height, width, 3) == (*sequences[0].size, 3)


def test_two_runs_side_by_side(make_results, truth, tmp_path, capsys):
    runs = []
    for name, shift in (("near", 1), ("far", 6)):
        (tmp_path / name).mkdir()
        made = make_results(
            lambda mask, index, shift=shift: np.roll(mask, shift * (1 + (index > 4)), 1) * 1.0, f"r{shift}"
        )
        made.rename(tmp_path / name / "results")
        runs.append(str(tmp_path / name))
        main(["score", f"{runs[-1]}/results", str(truth), "--json", f"{runs[-1]}/score.json"])
    out = tmp_path / "page.html"
    assert main(["compare", *runs, "--html", str(out)]) == 2  # neither says what it was tested on
    assert "--truth" in capsys.readouterr().err
    assert main(["compare", *runs, "--html", str(out), "--truth", str(truth)]) == 0
    page = out.read_text()
    assert "near is ahead by" in words(page)
    scores = [json.loads((tmp_path / name / "score.json").read_text()) for name in ("near", "far")]
    gaps = {name: abs(own[2]) for name, own in compare(*scores, measure="J&F").sequences.items()}
    first, second = sorted(gaps, key=lambda name: -gaps[name])
    assert page.index(f'id="clip-0-{first}"') < page.index(f'id="clip-1-{second}"')
    assert page.count("<canvas") == 4
    assert main(["compare", *runs, runs[0] + "/score.json", "--html", str(out), "--truth", str(truth)]) == 2


def test_what_a_run_lacks_is_left_out(tmp_path):
    assert Run.of(tmp_path) is None
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra/config.yaml").write_text("seed: 1\n")
    found = Run.of(tmp_path / "results")
    assert (found.config, found.metrics, found.overrides) == ({"seed": 1}, {}, [])
    (tmp_path / ".hydra/overrides.yaml").write_text("[")
    with pytest.raises(BadInput, match="is not plain YAML"):
        Run.of(tmp_path)
