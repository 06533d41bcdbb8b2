"""What may differ where a run is gone on with, and what is said of the rest."""

from pathlib import Path

import pytest

from davis_exp.launch import resuming
from davis_exp.utils.errors import BadInput

OLD = {
    "name": "a",
    "seed": 0,
    "resume": None,
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001, "betas": [0.9, 0.99]},
    "decoder": {"_target_": "Unet", "width": 16},
    "data": {"root": "/x", "workers": 0, "batch_size": 4},
    "callbacks": {"best": {"monitor": "val/J"}, "progress": {"every_seconds": 20}},
    "trainer": {"max_epochs": 3, "max_steps": -1, "devices": 1},
}


def with_(**changed) -> dict:
    new = {key: dict(node) if isinstance(node, dict) else node for key, node in OLD.items()}
    for dotted, value in changed.items():
        head, _, rest = dotted.partition("__")
        if rest:
            new[head][rest] = value
        else:
            new[head] = value
    return new


def test_how_it_runs_and_where_may_differ() -> None:
    new = with_(name="b", resume="runs/a/1", data__root="/y", data__workers=4, trainer__devices=2)
    new["callbacks"]["progress"] = {"every_seconds": 1}
    assert resuming.accepted(OLD, new, []) == {}
    assert resuming.accepted(OLD, with_(optimizer__betas=(0.9, 0.99)), []) == {}  # a tuple is a list


def test_a_module_that_has_moved_is_no_change() -> None:
    old, new = (
        {"scheduler": {"_target_": f"davis_exp.{place}poly"}}
        for place in ("schedules.", "training.schedules.")
    )
    assert resuming.changes(old, new) == {}


def test_what_differs_is_shown_key_by_key_with_how_to_apply_it() -> None:
    with pytest.raises(BadInput) as refused:
        resuming.accepted(OLD, with_(seed=1, optimizer__lr=0.5), [])
    assert str(refused.value) == (
        "resume: the run has been trained with other settings: seed 0 → 1; optimizer.lr 0.001 → 0.5; leave them out, "
        "or apply them: 'resume.allow=[seed,optimizer.lr]'"
    )


@pytest.mark.parametrize("allow", [["optimizer.lr"], ["optimizer"]])
def test_what_is_named_is_accepted_and_nothing_else(allow: list[str]) -> None:
    changed = with_(optimizer__lr=0.5)
    assert resuming.accepted(OLD, changed, allow) == {"optimizer.lr": (0.001, 0.5)}
    with pytest.raises(BadInput, match=r"other settings: data.batch_size 4 → 8; leave"):
        resuming.accepted(OLD, changed | {"data": {**OLD["data"], "batch_size": 8}}, allow)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"decoder__width": 32}, "decoder.width 16 → 32; its decoder cannot change"),
        ({"optimizer___target_": "torch.optim.SGD"}, "its optimizer cannot change"),
        ({"callbacks": {**OLD["callbacks"], "ema": {"decay": 0.9}}}, r"callbacks.ema.decay \(none\) → 0.9"),
    ],
)
def test_what_the_weights_and_states_are_of_can_never_change(changed: dict, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        resuming.accepted(OLD, with_(**changed), ["decoder", "optimizer", "callbacks"])


@pytest.mark.parametrize(
    ("key", "value", "longer"),
    [("max_epochs", 4, True), ("max_epochs", 2, False), ("max_epochs", None, True), ("max_steps", 5, False)],
)
def test_a_longer_training_needs_no_leave(key: str, value, longer: bool) -> None:
    new = with_(**{f"trainer__{key}": value})
    if longer:
        assert list(resuming.accepted(OLD, new, [])) == [f"trainer.{key}"]
    else:
        with pytest.raises(BadInput, match=f"trainer.{key}"):
            resuming.accepted(OLD, new, [])


def test_a_run_without_a_checkpoint_is_not_begun_anew(tmp_path: Path) -> None:
    assert resuming.checkpoints({"resume": None}, tmp_path) == []
    assert resuming.checkpoints({"resume": "auto"}, tmp_path) == []  # a sweep's job that was killed early
    with pytest.raises(BadInput, match=r"has no checkpoint to go on from"):
        resuming.checkpoints({"resume": str(tmp_path)}, tmp_path)
    last, best = (tmp_path / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    last.parent.mkdir()
    last.touch()
    best.touch()
    (tmp_path / "checkpoints/.last.ckpt.01234567.part.ckpt").touch()  # of a first save that was killed
    assert resuming.checkpoints({"resume": str(tmp_path)}, tmp_path) == [last, best]
    assert resuming.checkpoints({"resume": "none"}, tmp_path) == []


def test_a_key_of_its_own_for_what_is_allowed() -> None:
    given = ["resume=runs/a", "resume.allow=[seed]", "+resume.allow=[x]", "seed=1"]
    assert resuming.rewritten(given) == [
        "resume=runs/a",
        "resume_allow=[seed]",
        "+resume_allow=[x]",
        "seed=1",
    ]


def test_a_run_from_before_there_was_a_key_is_gone_on_with() -> None:
    before = {"seed": 0, "inference": {"size": None}}
    now = {"seed": 0, "inference": {"size": None, "carry": 0.0, "track": False}, "teacher": {}}
    assert resuming.accepted(before, now, []) == {}
    with pytest.raises(BadInput, match=r"inference\.carry 0\.0 → 0\.5"):
        resuming.accepted(before, now | {"inference": {"size": None, "carry": 0.5}}, [])
    with pytest.raises(BadInput, match=r"teacher\.checkpoint"):
        resuming.accepted(before, now | {"teacher": {"checkpoint": "x"}}, [])
