import pytest
import torch

from davis_exp import checkpoints
from davis_exp.errors import BadInput


def test_checkpoints_of_others_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no file"):
        checkpoints.read(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(BadInput, match="no checkpoint of davis-exp"):
        checkpoints.read(tmp_path / "text.ckpt")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" * 100)
    with pytest.raises(BadInput) as refused:
        checkpoints.read(tmp_path / "clip.mp4")
    assert str(refused.value).startswith(
        f"checkpoint: {tmp_path}/clip.mp4 is no checkpoint of davis-exp, or a damaged one; "
        "give a run's checkpoints/best.ckpt, or one that ships: zoo/"
    )
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(BadInput, match="no config"):
        checkpoints.read(tmp_path / "other.ckpt")


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("pwned",))

    torch.save({"config": {}, "state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(BadInput, match="no checkpoint of davis-exp"):
        checkpoints.read(tmp_path / "evil.ckpt")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("subprocess.check_output", "is no Module or MotionSource"),
        ("pathlib.Path", "is no Module or MotionSource"),
        ("davis_exp.zoo.write", "is no Module or MotionSource"),
        ("no_such_package.Model", "cannot import"),
    ],
)
def test_a_config_that_came_with_a_file_calls_nothing_but_parts(tmp_path, target, reason):
    for config in ({"model": {"_target_": target}}, {"encoder": {"fusion": [{"_target_": target}]}}):
        torch.save({"config": config, "state_dict": {}}, tmp_path / "x.ckpt")
        with pytest.raises(BadInput, match=rf"\._target_: .*{reason}"):
            checkpoints.read(tmp_path / "x.ckpt")
