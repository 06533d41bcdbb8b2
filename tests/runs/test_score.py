import copy
import json

import pytest

from davis_exp.metrics.protocols import summary
from davis_exp.runs import score
from davis_exp.utils.errors import BadInput


def columns(j, f, iou=None, **others):
    return {"iou": iou or j, "J": j, "F": f, "T": [None] * len(j)} | others


@pytest.fixture
def good():
    """A score of two sequences, one with a frame without any object."""
    frames = {
        "a": (["a/0", "a/1", "a/2", "a/3"], columns([0.9, 0.8, 0.3, 0.4], [0.45, 0.4, 0.15, 0.2])),
        "b": (
            ["b/0", "b/1", "b/2"],
            columns([0.5, 1.0, 0.2], [0.4, 1.0, 0], iou=[0.5, None, 0.2], T=[0.1, None, None]),
        ),
    }
    return json.loads(json.dumps({**summary(frames), "nparams": 5, "baselines": {"everything": None}}))


def read(content, tmp_path):
    (tmp_path / score.SCORE).write_text(json.dumps(content))
    return score.read(tmp_path)


def test_a_score_is_read_as_it_was_written(good, tmp_path):
    score.write(tmp_path, good)
    assert score.read(tmp_path) == score.read(tmp_path / score.SCORE) == good
    assert good["contest"]["segmentation_metric"] == pytest.approx((0.9 + 0.8 + 0.3 + 0.4 + 0.5 + 0.2) / 6)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("contest", "segmentation_metric"), 1.0),
        (("contest", "segmentation_metric"), True),
        (("contest", "mean_iou"), None),
        (("contest", "frames"), 60),
        (("davis2016", "J", "mean"), 0.99),
        (("davis2016", "J&F"), "0.9"),
        (("all_frames", "F", "decay"), 0.0001),
        (("sequences", "a", "contest", "mean_iou"), 0.99),
        (("sequences", "b", "davis2016", "J", "recall"), 0.5),
    ],
)
def test_a_mean_that_its_own_frames_do_not_have_is_refused_by_name(good, tmp_path, path, value):
    content = copy.deepcopy(good)
    *above, last = path
    node = content
    for name in above:
        node = node[name]
    node[last] = value
    with pytest.raises(BadInput, match=rf"{last} says {value}, but its own frames come to"):
        read(content, tmp_path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["sequences"]["a"]["raw"]["J"].pop(), "J is not a number for each of its 4 frames"),
        (lambda c: c["sequences"]["a"]["raw"].update(iou=[2, 0, 0, 0]), "2 is no iou of a frame"),
        (lambda c: c["sequences"]["a"]["raw"].update(F=[None, 0, 0, 0]), "None is no F of a frame"),
        (lambda c: c["sequences"]["a"].pop("raw"), "has no scores of its frames"),
        (lambda c: c["sequences"]["a"].update(frames=[1, 2, 3, 4]), "has no scores of its frames"),
        (lambda c: c.pop("all_frames"), "is no score"),
        (lambda c: c.update(nparams="many"), "nparams cannot be many"),
        (lambda c: c.update(baselines={"x": 7}), "baselines"),
    ],
)
def test_what_is_no_score_is_refused(good, tmp_path, change, why):
    content = copy.deepcopy(good)
    change(content)
    with pytest.raises(BadInput, match=why):
        read(content, tmp_path)
