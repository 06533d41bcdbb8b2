"""What a training begins with: a trained model's weights, and that what this has seen is no measure."""

from types import SimpleNamespace

import pytest
import torch

from davis_exp import cli
from davis_exp.data.split import check_unseen
from davis_exp.experiment import starting
from davis_exp.utils.errors import BadInput

TINY = (
    *("data=generated", "encoder=pixel", "decoder=pixel", "data.train=5", "data.test=1", "data.length=3"),
    *("data.height=32", "data.width=48", "data.size=[32,48]", "data.batch_size=4", "data.workers=0"),
    *("data.clips_per_epoch=8", "trainer.max_epochs=1", "augmentation=none", "logger=none"),
)


def weights(path):
    state = torch.load(path)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("model.")}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a run that held out two of five clips."""
    folder = tmp_path_factory.mktemp("first")
    assert cli.main(["train", *TINY, "data.holdout=0.4", f"hydra.run.dir={folder}"]) == 0
    return folder


def test_it_begins_with_a_trained_models_weights(first, tmp_path):
    still = ("data.holdout=0.4", "optimizer.lr=1e-12", "optimizer.weight_decay=0")
    assert cli.main(["train", *TINY, *still, f"weights={first}", f"hydra.run.dir={tmp_path}/two"]) == 0
    begun, now = (weights(run / "checkpoints/best.ckpt") for run in (first, tmp_path / "two"))
    assert begun.keys() == now.keys()
    assert all(torch.allclose(begun[name], now[name], atol=1e-6) for name in begun)
    assert cli.main(["train", *TINY, *still, f"hydra.run.dir={tmp_path}/three"]) == 0
    other = weights(tmp_path / "three/checkpoints/best.ckpt")
    assert not all(torch.allclose(begun[name], other[name], atol=1e-3) for name in begun)


def test_it_goes_on_where_what_it_began_with_is_gone(first, tmp_path):
    from shutil import copytree, rmtree

    copytree(first, tmp_path / "first")
    run = (*TINY, "data.holdout=0.4", f"weights={tmp_path}/first", f"hydra.run.dir={tmp_path}/two")
    assert cli.main(["train", *run]) == 0
    rmtree(tmp_path / "first")
    assert cli.main(["train", f"resume={tmp_path}/two", "trainer.max_epochs=2"]) == 0
    assert torch.load(tmp_path / "two/checkpoints/last.ckpt")["epoch"] == 1


def test_clips_that_it_has_seen_are_no_hold_out(first, tmp_path, capsys):
    run = (*TINY, f"weights={first}", f"hydra.run.dir={tmp_path}/run")
    assert cli.main(["train", *run, "data.holdout=0.4", "data.fold=1"]) == 2
    assert "weights: refuses these settings: it was trained on" in (told := capsys.readouterr().err)
    assert "Traceback" not in told
    assert cli.main(["train", *run, "data.holdout=0"]) == 0  # all five now; it says so itself from now on
    after = (f"weights={tmp_path}/run/checkpoints/last.ckpt", f"hydra.run.dir={tmp_path}/after")
    assert cli.main(["train", *TINY, *after, "data.holdout=0.4"]) == 2


def test_what_it_began_with_was_seen_too(first, tmp_path):
    known = set(torch.load(first / "checkpoints/best.ckpt")["clips"]["trained"])
    assert len(known) == 3
    run = (*TINY, "data.length=4", f"weights={first}", f"hydra.run.dir={tmp_path}")  # other clips than those
    assert cli.main(["train", *run, "data.holdout=0.4"]) == 0
    clips = torch.load(tmp_path / "checkpoints/best.ckpt")["clips"]
    assert known < set(clips["trained"])
    assert len(clips["trained"]) == 6
    assert not known & set(clips["held_out"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("weights=none.ckpt", "none.ckpt"),
        ("weights=zoo/none", "zoo/none: no such model ships"),
        ("weights=zoo/zoo_mobile", "weights: zoo/zoo_mobile is of other parts than this model"),
        ("weights=3", "weights"),
    ],
)
def test_what_cannot_be_begun_with_is_refused_in_a_line(tmp_path, capsys, override, said):
    assert cli.main(["train", *TINY, override, f"hydra.run.dir={tmp_path}/run"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_an_encoder_that_has_seen_a_clip_says_so(compose):
    cfg = compose("encoder=two_stream_shared", "flow=dis", "encoder.weights=zoo/zoo_mobile")
    assert starting.learnt_from(cfg).keys() == {"encoder.weights"}
    known = starting.learnt_from(cfg)["encoder.weights"]
    assert "bear, 82 frames" in known
    cfg = compose("experiment=zoo_mobile", "weights=zoo/zoo_mobile", "encoder.weights=zoo/zoo_mobile")
    assert starting.learnt_from(cfg) == {"weights": known}
    cfg = compose("encoder=efficientnet_lite0", "encoder.weights=zoo/none")
    assert starting.learnt_from(cfg) == {}  # which loading it refuses
    with pytest.raises(BadInput, match=r"encoder\.weights=zoo/none: cannot load them"):
        starting.build(cfg)


def test_the_clips_are_named():
    clips = [SimpleNamespace(name=name, identity=identity) for name, identity in ("xc", "ya", "zb")]
    check_unseen({"d"}, clips)
    with pytest.raises(ValueError, match=r"1 of the 3 clips that are held out \(y\)"):
        check_unseen({"a"}, clips)
    with pytest.raises(ValueError, match=r"\(x, y, z\)"):
        check_unseen({"a", "b", "c"}, clips)


def test_a_built_model_has_the_weights_asked_for(compose):
    from davis_exp.models import zoo

    model = starting.build(compose("experiment=zoo_mobile", "weights=zoo/zoo_mobile"))
    state, _ = zoo.read(zoo.find("zoo/zoo_mobile"))
    own = model.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], state[name]) for name in own)
