"""davis_exp from Python: the README's lines, and what a notebook shows."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import davis_exp
from davis_exp.cli import main
from davis_exp.data.sources.generated import GeneratedSource


@pytest.fixture(scope="module")
def frames():
    (clip, *_) = GeneratedSource(test=1, length=6).sequences("test")
    return [clip.frame(i) for i in range(len(clip))]


@pytest.fixture(scope="module")
def predictor():
    return davis_exp.load("zoo/zoo_mobile")


def folder_of(frames, folder):
    folder.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:05d}.png")
    return folder


def test_importing_it_loads_nothing_slow():
    code = "import davis_exp, sys; assert not {'torch', 'hydra', 'numpy', 'pytorch_lightning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(davis_exp.__all__) <= set(dir(davis_exp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        davis_exp.nothing  # noqa: B018
    for name in set(davis_exp.__all__) - {"__version__"}:
        assert getattr(davis_exp, name).__name__ == name


def test_the_masks_are_those_of_the_command(frames, predictor, tmp_path, capsys):
    given = folder_of(frames, tmp_path / "clip")
    assert main(["predict", "zoo/zoo_mobile", str(given), "-o", str(tmp_path / "out"), "--soft"]) == 0
    written = [np.array(Image.open(tmp_path / f"out/masks/{i:05d}.png")) for i in range(len(frames))]
    for source in (given, str(given), frames, np.stack(frames)):
        yielded = list(predictor(source))
        assert len(yielded) == len(frames)
        for frame, mask, (seen, confidence) in zip(frames, written, yielded, strict=True):
            np.testing.assert_array_equal(seen, frame)
            np.testing.assert_array_equal(confidence, mask)
    assert len(list(predictor(given, every=4))) == 2


def test_real_frames_too(davis_root, predictor, tmp_path, capsys):
    files = sorted((davis_root / "JPEGImages/480p/blackswan").glob("*.jpg"))[:4]
    frames = [np.array(Image.open(file)) for file in files]
    given = folder_of(frames, tmp_path / "clip")
    assert main(["predict", str(given), "-o", str(tmp_path / "out"), "--soft"]) == 0
    for i, (_, confidence) in enumerate(predictor(frames)):
        np.testing.assert_array_equal(confidence, np.array(Image.open(tmp_path / f"out/masks/{i:05d}.png")))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "there are no frames"),
        ([np.zeros((4, 5), np.uint8)], r"frame 0 is uint8 of shape \(4, 5\): give \(H, W, 3\)"),
        ([np.zeros((4, 5, 3))], "frame 0 is float64"),
        (
            [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)],
            r"frame 1 is uint8 of shape \(4, 6, 3\)",
        ),
        ("nowhere.mp4", "no such file"),
    ],
)
def test_what_cannot_be_predicted_on_is_refused_at_once(predictor, given, line):
    with pytest.raises(davis_exp.BadInput, match=line):
        predictor(given)


def test_a_predictor_shows_itself(predictor):
    assert repr(predictor).startswith("Predictor(zoo/zoo_mobile: 3,")
    assert repr(predictor) in predictor._repr_html_()


def test_a_score_is_the_commands_and_shows_itself(tmp_path, capsys):
    root = tmp_path / "DAVIS"
    assert main(["data", "generate", str(root), "--train", "1", "--test", "2", "--length", "4"]) == 0
    masks = next(root.glob("Annotations/*"))
    names = ["test-000", "test-001"]
    results = tmp_path / "mine"
    results.mkdir()
    for name in names:
        shutil.copytree(masks / name, results / name)
    score = davis_exp.score(results, root)
    assert score["contest"]["mean_iou"] == score["davis2016"]["J"]["mean"] == 1.0
    assert main(["score", str(results), str(root), "--json", str(tmp_path / "score.json")]) == 0
    assert json.loads((tmp_path / "score.json").read_text())["davis2016"] == score["davis2016"]
    assert "<td>all</td><td>8</td><td>100.00</td>" in score._repr_html_()
    assert "mean IoU" in str(score)
    with pytest.raises(davis_exp.BadInput):
        davis_exp.score(tmp_path / "nowhere", root)


def test_a_config_is_composed_and_built():
    cfg = davis_exp.compose(["encoder=pixel", "decoder=pixel", "seed=3"])
    assert (cfg.seed, cfg.encoder._target_) == (3, "davis_exp.models.encoders.pixel.PixelEncoder")
    model = davis_exp.build(cfg)
    assert isinstance(model, davis_exp.VideoSegmenter)
    import torch

    prediction, _ = model(torch.rand(1, 2, 3, 32, 48))
    assert prediction.logits.shape == (1, 2, 1, 32, 48)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["encoder=nothing"], "encoder=nothing: no such option"),
        (["sed=3"], "sed"),
        (["seed=x"], "seed"),
    ],
)
def test_what_cannot_be_composed_is_bad_input(overrides, line):
    with pytest.raises(davis_exp.BadInput, match=line):
        davis_exp.compose(overrides)


def test_over_the_budget_is_an_error_of_its_own():
    with pytest.raises(davis_exp.OverBudget, match="over budget"):
        davis_exp.build(davis_exp.compose(["encoder=pixel", "decoder=pixel", "budget.limit=1"]))
