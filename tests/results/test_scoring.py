"""The whole score against literal re-computations."""

import json
import shutil
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from davis_exp.data.masks import MaskReader
from davis_exp.data.sequences import VideoSequence
from davis_exp.data.sources.files import FileSequence
from davis_exp.metrics.bits import Bits
from davis_exp.metrics.boundary import contour_f
from davis_exp.metrics.jaccard import jaccard
from davis_exp.metrics.statistics import statistics
from davis_exp.results.artifact import Results, ResultsWriter
from davis_exp.results.scoring import baselines, score
from davis_exp.results.table import score_rows, score_table
from davis_exp.results.truth import Truth
from davis_exp.utils.errors import BadInput


class Clip(VideoSequence):
    """Masks in memory."""

    labelled = True

    def __init__(self, name, masks, first=0):
        self.name, self.masks_ = name, [np.asarray(mask, np.uint8) for mask in masks]
        self.index = tuple(range(first, first + len(masks)))
        self.frame_ids = tuple(f"{name}/{i:05d}" for i in range(len(masks)))

    key = property(lambda self: f"memory:{self.name}")
    size = property(lambda self: self.masks_[0].shape)

    def frame(self, i):
        raise AssertionError("scoring looks at masks only")

    def mask(self, i):
        return self.masks_[i]


def judge(results, sequences):
    """The contest's rule, literally: round both, IoU, -1 where both are empty, mean of the others."""
    ious = []
    for sequence in sequences:
        for i, index in enumerate(sequence.index):
            path = results / "outputs" / f"{index:05d}.png"
            prediction = np.round(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 255).astype(bool)
            target = sequence.mask(i).astype(bool)
            union = np.logical_or(prediction, target).sum()
            ious.append(np.logical_and(prediction, target).sum() / union if union else -1)
    return np.mean([iou for iou in ious if iou >= 0])


def noisy(mask, index):
    rng = np.random.default_rng(index)
    return np.clip(cv2.GaussianBlur(mask * 1.0, (0, 0), 3) + rng.normal(0, 0.2, mask.shape), 0, 1)


def test_contest_score_is_the_judges(make_results, sequences):
    folder = make_results(noisy)
    scored = score(Results.open(folder), sequences)
    assert scored["contest"]["segmentation_metric"] == pytest.approx(judge(folder, sequences), abs=1e-12)
    assert scored["contest"]["mean_iou"] == scored["contest"]["segmentation_metric"]
    assert (scored["contest"]["frames"], scored["contest"]["excluded"]) == (9, 0)
    assert scored["nparams"] == 1000


def test_davis_scores_are_the_metrics_of_each_sequence(make_results, sequences):
    results = Results.open(make_results(noisy))
    scored = score(results, sequences)
    own_j = {}
    for sequence in sequences:
        predictions = [results.confidence(index) >= 128 for index in sequence.index]
        masks = [sequence.mask(i) for i in range(len(sequence))]
        j = [jaccard(p, t) for p, t in zip(predictions, masks, strict=True)]
        f = [contour_f(Bits.of(p), Bits.of(t)) for p, t in zip(predictions, masks, strict=True)]
        stored = scored["sequences"][sequence.name]
        assert stored["raw"]["J"] == j
        assert stored["raw"]["F"] == f
        assert stored["frames"] == list(sequence.frame_ids)
        assert stored["davis2016"]["J"] == statistics(j[1:-1])._asdict()
        assert stored["all_frames"]["F"] == statistics(f)._asdict()
        own_j[sequence.name] = statistics(j[1:-1]).mean
    assert scored["davis2016"]["J"]["mean"] == pytest.approx(np.mean(list(own_j.values())))
    assert scored["davis2016"]["T"] is None
    json.dumps(scored, allow_nan=False)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_change_nothing(make_results, sequences, workers):
    results = Results.open(make_results(noisy))
    reports = []
    found = score(results, sequences, workers=workers, progress=lambda *own: reports.append(own))
    assert found == score(results, sequences, workers=2)
    assert reports == [(i, 9) for i in range(1, 10)]


def write(folder, clip, maps):
    out = ResultsWriter(folder)
    for index, frame, confidence in zip(clip.index, clip.frame_ids, maps, strict=True):
        out.add(index, confidence, frame)
    return Results.open(out.close({"nparams": 1}))


def test_the_threshold_lies_between_127_and_128(tmp_path):
    clip = Clip("a", [np.tri(4)] * 2)
    results = write(tmp_path / "r", clip, [np.uint8(127 + i) * np.tri(4, dtype=np.uint8) for i in (0, 1)])
    assert score(results, [clip])["sequences"]["a"]["raw"]["iou"] == [0.0, 1.0]


def test_both_empty_is_left_out_of_the_contest_only(tmp_path):
    masks = [np.zeros((6, 6)), np.zeros((6, 6)), np.eye(6)]
    clip = Clip("a", masks)
    results = write(tmp_path / "r", clip, [np.zeros((6, 6)), np.eye(6), np.eye(6)])
    scored = score(results, [clip])
    assert scored["contest"] == {"segmentation_metric": 0.5, "mean_iou": 0.5, "frames": 2, "excluded": 1}
    assert scored["sequences"]["a"]["raw"]["iou"] == [None, 0.0, 1.0]
    assert scored["sequences"]["a"]["raw"]["J"] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(("value", "word"), [(0, "empty"), (1, "full")])
def test_a_truth_of_which_nothing_was_understood_gives_no_score(tmp_path, value, word):
    clip = Clip("a", [np.full((6, 6), value)] * 3)
    with pytest.raises(BadInput, match=f"all 3 true masks are {word}.*--masks"):
        score(write(tmp_path / "r", clip, [np.zeros((6, 6))] * 3), [clip])


def test_index_10_comes_after_index_2(tmp_path):
    masks = [np.tri(8, 8, k - 5) for k in range(11)]  # of every frame another one
    clip = Clip("a", masks)
    results = write(tmp_path / "r", clip, masks)
    as_text = {key: results.paths[int(key)] for key in sorted(map(str, results.paths))}
    assert list(as_text)[:3] == ["0", "1", "10"]
    (tmp_path / "r" / "paths.json").write_text(json.dumps({"output": as_text}))
    assert score(Results.open(tmp_path / "r"), [clip])["contest"]["mean_iou"] == 1.0


def test_baselines(sequences, make_results):
    height, width = sequences[0].size
    y, x = np.mgrid[:height, :width]
    ellipse = np.hypot((y + 0.5 - height / 2) / (height / 4), (x + 0.5 - width / 2) / (width / 4)) <= 1
    masks = [sequence.mask(i) > 0 for sequence in sequences for i in range(len(sequence))]
    expected = {
        "everything": np.mean([mask.mean() for mask in masks]),
        "centre ellipse": np.mean([(mask & ellipse).sum() / (mask | ellipse).sum() for mask in masks]),
    }
    assert baselines(sequences) == pytest.approx(expected)
    assert score(Results.open(make_results()), sequences)["baselines"] == pytest.approx(expected)


def plain_folder(folder, results, sequences, encode=lambda confidence: (confidence >= 128) * np.uint8(255)):
    for sequence in sequences:
        (folder / sequence.name).mkdir(parents=True)
        for i, index in enumerate(sequence.index):
            name = f"{sequence.frame_ids[i]}.png"
            assert cv2.imwrite(str(folder / name), encode(results.confidence(index)))
    return folder


def test_a_plain_folder_a_zip_and_a_run_score_the_same(tmp_path, make_results, sequences):
    folder = make_results(noisy)
    results = Results.open(folder)
    expected = score(results, sequences)
    assert expected["matched_by"] == "index and name"
    plain = score(Results.open(plain_folder(tmp_path / "plain", results, sequences)), sequences)
    assert plain["matched_by"] == "name"
    shutil.make_archive(str(tmp_path / "flat"), "zip", folder)
    shutil.make_archive(str(tmp_path / "nested"), "zip", folder.parent, folder.name)
    zipped = [score(Results.open(tmp_path / f"{name}.zip"), sequences) for name in ("flat", "nested")]
    run = score(Results.open(folder.parent), sequences)  # a run's folder stands for its results
    for own in (plain, *zipped, run):
        assert own["sequences"] == expected["sequences"]
        assert own["contest"] == expected["contest"]
    shutil.make_archive(str(tmp_path / "one"), "zip", tmp_path / "plain", "bus")
    single = score(Results.open(tmp_path / "one.zip"), sequences[1:])  # its only folder is a sequence
    assert single["sequences"]["bus"] == expected["sequences"]["bus"]
    with zipfile.ZipFile(tmp_path / "nested.zip") as packed:
        assert f"{folder.name}/paths.json" in packed.namelist()


def test_sequences_beyond_the_truth_are_left_aside_in_a_plain_folder(tmp_path, make_results, sequences):
    folder = plain_folder(tmp_path / "plain", Results.open(make_results(noisy)), sequences)
    whole = score(Results.open(folder), sequences)
    part = score(Results.open(folder), sequences[1:])
    assert part["sequences"] == {"bus": whole["sequences"]["bus"]}


def test_results_without_names_are_matched_by_index_and_say_so(results, sequences, caplog):
    (results / "metadata.json").write_text('{"nparams": 5}')
    assert score(Results.open(results), sequences)["matched_by"] == "index"
    assert "names no frames" in caplog.text


def test_results_of_another_order_are_refused(results, sequences):
    metadata = json.loads((results / "metadata.json").read_text())
    metadata["frames"][0], metadata["frames"][5] = metadata["frames"][5], metadata["frames"][0]
    (results / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(BadInput, match="index 0 is bus/00000 here and swan/00000 in the truth"):
        score(Results.open(results), sequences)


def test_unlabelled_truth_is_refused(results, sequences, monkeypatch):
    monkeypatch.setattr(sequences[1], "labelled", False)
    with pytest.raises(BadInput, match="bus has no masks"):
        score(Results.open(results), sequences)


def test_kept_truth_gives_the_same_score_and_is_used(tmp_path, make_results, sequences, monkeypatch):
    results = Results.open(make_results(noisy))
    expected = score(results, sequences)
    assert score(results, sequences, truth=Truth(tmp_path / "kept")) == expected
    monkeypatch.setattr(FileSequence, "annotation", None)  # nothing decodes a mask any more
    assert score(results, sequences, truth=Truth(tmp_path / "kept")) == expected


def test_kept_truth_is_left_aside_when_a_mask_changes(tmp_path, truth, make_results):
    from davis_exp.data.sources import open_source

    copy = shutil.copytree(truth, tmp_path / "copy")
    results = Results.open(make_results())

    def scored():
        own = open_source(copy).sequences("test")
        return score(results, own, truth=Truth(tmp_path / "kept"))["sequences"]["swan"]["raw"]["J"]

    before = scored()
    mask = copy / "Annotations/480p/swan/00002.png"
    mask.write_bytes((copy / "Annotations/480p/swan/00003.png").read_bytes())
    after = scored()
    assert after[2] != before[2]
    assert after[3:] == before[3:]
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(b"damaged")
    assert scored() == after


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGB"])
def test_truth_of_any_mode(tmp_path, truth, make_results, mode):
    from davis_exp.data.sources import open_source

    copy = shutil.copytree(truth, tmp_path / "copy")
    results = Results.open(make_results())
    expected = score(results, open_source(copy).sequences("test"))
    file = copy / "Annotations/480p/swan/00001.png"
    with Image.open(file) as mask:
        mask.convert(mode).save(file)
    assert score(results, open_source(copy).sequences("test")) == expected


ODD = np.array([[0, 1, 38, 127, 128, 200, 255]], np.uint8)
ODD_MASKS = {
    "soft": Image.fromarray(ODD),
    "soft with alpha": Image.merge("LA", (Image.fromarray(ODD), Image.fromarray(255 - ODD))),
    "soft in colour": Image.fromarray(np.stack([ODD] * 3, axis=2)),
    "zeros and ones": Image.fromarray(np.minimum(ODD, 1)),
    "palette": Image.fromarray(np.minimum(ODD, 3)).convert("P"),
    "one bit": Image.fromarray(ODD > 100),
    "sixteen bits": Image.fromarray(ODD.astype(np.uint16) * 257),
    "dim": Image.fromarray(ODD // 3),
    "empty": Image.fromarray(ODD * 0),
}


@pytest.mark.parametrize("name", ODD_MASKS)
def test_truth_is_read_as_training_reads_it(tmp_path, name):
    path = tmp_path / "clip" / "00000.png"
    path.parent.mkdir()
    ODD_MASKS[name].save(path)
    clip = FileSequence("clip", "clip", [path], [path])
    kept = Truth(tmp_path / "kept")
    if name == "soft with alpha":
        for truth in (Truth(), kept):
            with pytest.raises(BadInput, match="a mask in its colours and another in its alpha"):
                truth.annotation(clip, 0)
        return
    expected = MaskReader().read(path).inside.astype(bool)
    assert np.array_equal(Truth().annotation(clip, 0)[0].unpack(), expected)
    kept.prepare([clip])
    assert np.array_equal(kept.annotation(clip, 0)[0].unpack(), expected)


def test_truth_of_several_sizes(tmp_path):
    masks = [np.eye(5), np.ones((9, 70)), np.tri(4, 4)]
    clip = Clip("mixed", masks)
    results = write(tmp_path / "r", clip, masks)
    for truth in (Truth(), Truth(tmp_path / "kept")):
        assert score(results, [clip], truth=truth)["contest"]["mean_iou"] == 1.0


def test_stability_of_the_sequences_named(make_results, sequences):
    results = Results.open(make_results())
    named = score(results, sequences, stability=["bus"])
    assert named["sequences"]["swan"]["davis2016"]["T"] is None
    assert named["davis2016"]["T"] == named["sequences"]["bus"]["davis2016"]["T"] > 0
    every = score(results, sequences, stability=[])
    assert every["sequences"]["swan"]["raw"]["T"][-1] is None
    assert all(value is not None for value in every["sequences"]["swan"]["raw"]["T"][:-1])
    assert every["sequences"]["bus"] == named["sequences"]["bus"]
    with pytest.raises(BadInput, match="no sequence tram"):
        score(results, sequences, stability=["tram"])


def test_stability_leaves_out_what_the_official_evaluation_leaves_out(tmp_path):
    masks = [np.pad(np.ones((20, 10 + i)), ((10, 10), (10, 20 - i))) for i in range(4)]
    results = write(tmp_path / "both", Clip("pair", masks * 2), [mask * 1.0 for mask in masks * 2]).path
    clips = [Clip("dog", masks), Clip("bus", masks, first=4)]
    (results / "metadata.json").write_text('{"nparams": 1}')  # without names: matched by index
    scored = score(Results.open(results), clips, stability=[])
    assert scored["sequences"]["dog"]["davis2016"]["T"] is None
    assert scored["davis2016"]["T"] == scored["sequences"]["bus"]["davis2016"]["T"] > 0
    named = score(Results.open(results), clips, stability=["dog"])
    assert named["davis2016"]["T"] == named["sequences"]["dog"]["davis2016"]["T"] > 0
    clips[1].name = "libby"
    with pytest.raises(BadInput, match="leaves out dog, libby: name the sequences"):
        score(Results.open(results), clips, stability=[])


def test_table_and_rows_hold_the_numbers(make_results, sequences):
    scored = score(Results.open(make_results(noisy)), sequences, stability=[])
    table = str(score_table(scored))
    assert f"{100 * scored['contest']['mean_iou']:.2f}" in table.splitlines()[6]
    assert "centre ellipse" in table
    only = str(score_table(scored, ["all_frames"]))
    assert "all frames" in only
    assert "contest" not in only
    rows = score_rows(scored)
    assert [row["sequence"] for row in rows] == ["swan", "bus", "all"]
    assert rows[-1]["davis2016_J_mean"] == scored["davis2016"]["J"]["mean"]
    assert rows[0]["all_frames_T"] == scored["sequences"]["swan"]["all_frames"]["T"]
