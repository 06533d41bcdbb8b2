"""Learning from a trained model: what its answers are worth, and what it may not know."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from davis_exp import cli
from davis_exp.models.segmenter import Prediction
from davis_exp.training.teacher import Teacher

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=5", "data.test=1", "data.length=3"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.clips_per_epoch=8", "trainer.max_epochs=1", "augmentation=none", "logger=none"),
)


class Answers(nn.Module):
    """Gives 2 × the first channel as logits, and notes how it is called."""

    needs_motion = False

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.dropout = nn.Dropout(0.5)

    def forward(self, frames, motion=None, state=None):
        return Prediction(self.dropout(self.scale * frames[:, :, :1])), ()


def test_its_loss_is_the_cross_entropy_with_its_probabilities_and_teaches_the_other_alone():
    model = Answers()
    frames, logits = torch.rand(2, 3, 3, 4, 5), torch.randn(2, 3, 1, 4, 5, requires_grad=True)
    found = Teacher(model).loss(Prediction(logits), frames, None)
    p = torch.sigmoid(2 * frames[:, :, :1])
    q = torch.sigmoid(logits)
    assert torch.allclose(found, -(p * q.log() + (1 - p) * (1 - q).log()).mean(), atol=1e-6)
    found.backward()
    assert torch.allclose(logits.grad, (q - p).detach() / logits.numel(), atol=1e-7)
    assert model.scale.grad is None


@pytest.mark.parametrize("weight", [0, -1, 1.5, float("nan")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="weight must be above 0"):
        Teacher(Answers(), weight=weight)


def test_what_it_cannot_see_is_refused():
    prediction, frames = Prediction(torch.zeros(1, 1, 1, 4, 5)), torch.rand(1, 1, 3, 4, 5)
    with pytest.raises(ValueError, match=r"task\.store_features=false"):
        Teacher(Answers()).loss(prediction, None, None)
    moving = Answers()
    moving.needs_motion = True
    with pytest.raises(ValueError, match="sees motion"):
        Teacher(moving).loss(prediction, frames, None)


def test_a_run_learns_from_another_and_keeps_nothing_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *TINY, "hydra.run.dir=one", "data.holdout=0"]) == 0
    best = "one/checkpoints/last.ckpt"
    learn = ("teacher=checkpoint", f"teacher.checkpoint={best}", "seed=0")
    assert cli.main(["train", *TINY, *learn, "hydra.run.dir=two", "data.holdout=0"]) == 0
    assert "teacher checkpoint" in (tmp_path / "two/train.log").read_text()
    one, two = (torch.load(f"{run}/checkpoints/last.ckpt") for run in ("one", "two"))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert any(not torch.equal(one["state_dict"][key], two["state_dict"][key]) for key in one["state_dict"])
    capsys.readouterr()
    assert cli.main(["train", *TINY, *learn, "hydra.run.dir=three", "data.holdout=0.4"]) == 2
    assert "davis-exp: teacher: " in (told := capsys.readouterr().err)
    assert "clips that are held out" in told
    for override, said in {
        "teacher.weight=2": "above 0",
        "teacher.checkpoint=none.ckpt": "none.ckpt",
    }.items():
        assert cli.main(["train", *TINY, *learn, override, "hydra.run.dir=four", "data.holdout=0"]) == 2
        assert said in capsys.readouterr().err


def test_a_part_of_the_loss_is_the_masks_and_what_has_no_mask_is_taught_too():
    from davis_exp.training.task import SegmentationTask

    def loss(prediction, masks, frames):
        return F.binary_cross_entropy_with_logits(prediction.logits, masks)

    student = Answers()
    student.eval()
    batch = {
        "frames": torch.full((1, 2, 3, 4, 5), 255, dtype=torch.uint8),
        "masks": torch.ones(1, 2, 1, 4, 5, dtype=torch.uint8),
        "annotated": torch.tensor([[True, False]]),
    }
    values = {}
    for name, teacher in {"none": None, "both": Teacher(Answers(), weight=0.25)}.items():
        task = SegmentationTask(student, loss=loss, teacher=teacher, inference=None)
        values[name] = float(task.training_step(dict(batch), 0).detach())
    p = torch.sigmoid(torch.tensor(2.0))
    own = float(-p.log())
    entropy = float(-(p * p.log() + (1 - p) * (1 - p).log()))
    assert values["none"] == pytest.approx(own, abs=1e-6)
    assert values["both"] == pytest.approx(0.75 * own + 0.25 * entropy, abs=1e-6)
