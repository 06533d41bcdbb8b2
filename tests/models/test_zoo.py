import hashlib
import json

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from davis_exp import cli
from davis_exp.experiment import build, checkpoints
from davis_exp.models import zoo
from davis_exp.utils.errors import BadInput


@pytest.fixture
def trained(compose, tmp_path):
    """A checkpoint of a small model with weights of its own, and its folder."""

    def make(*overrides: str):
        cfg = OmegaConf.to_container(compose(*overrides), resolve=True)
        model = build.build_model(cfg)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-1, 1)
        state = {f"model.{name}": value for name, value in model.state_dict().items()}
        path = tmp_path / "best.ckpt"
        clips = {"trained": ["bear, 82 frames"], "held_out": ["bus, 80 frames"]}
        torch.save({"config": cfg, "clips": clips, "state_dict": state}, path)
        return path

    return make


def test_an_exported_file_is_a_checkpoint_of_half_the_size(trained, tmp_path, capsys):
    path = trained(
        "encoder=mobilenetv4", "encoder.weights=null", "decoder=linknet", "data.root=/home/me/DAVIS"
    )
    out = tmp_path / "out" / "model.safetensors"
    assert cli.main(["export", str(path), "-o", str(out)]) == 0
    assert "half precision" in capsys.readouterr().out
    assert out.stat().st_size < 0.55 * path.stat().st_size
    one, other = checkpoints.read(path), checkpoints.read(out)
    assert other["config"]["data"].pop("root") == "DAVIS", "where it lay is left out"
    del one["config"]["data"]["root"]
    assert other["config"] == one["config"]
    assert other["clips"] == {"trained": ["bear, 82 frames"], "held_out": ["bus, 80 frames"]}
    for name, value in one["state_dict"].items():
        assert other["state_dict"][name].dtype == value.dtype
        assert torch.equal(other["state_dict"][name], value.half().to(value.dtype))
    checkpoints.restore(other)
    assert [file.name for file in out.parent.iterdir()] == ["model.safetensors"]
    assert cli.main(["export", str(path), "-o", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["export", str(path), "-o", str(tmp_path / "model.tflite")]) == 2
    assert ".safetensors" in capsys.readouterr().err


def test_how_it_is_run_may_be_chosen_after_training(trained, tmp_path, capsys):
    path, out = trained("encoder=pixel", "decoder=pixel"), tmp_path / "model.safetensors"
    settings = ["inference.size=[96,160]", "inference.flip=true"]
    assert cli.main(["export", str(path), "-o", str(out), *settings]) == 0
    how = build.inference(checkpoints.read(out)["config"])
    assert (how.size, how.flip, how.window) == ((96, 160), True, 8)
    for setting, said in {
        "optimizer.lr=1": "only inference.size, inference.window",
        "inference.flip": "KEY=VALUE",
        "inference.size=[96": "not a value",
        "inference.size=96": "inference.size",
        "inference.stride=99": "inference.stride",
        "inference.window=soon": "inference.window",
        "inference.window=${nothere}": "not a value",
        "inference.scales={a: 1}": "inference.scales",
        "inference.select_motion=true": "takes no motion pictures",
        "inference.flow_gaps=[1,-1]": "takes no motion pictures",
        "inference.flow_gaps=[9]": "inference.flow_gaps",
        "inference.track=size": "inference.track",
        "inference.carry=2": "inference.carry: must lie in 0",
    }.items():
        assert cli.main(["export", str(path), "-o", str(tmp_path / "other.safetensors"), setting]) == 2, (
            setting
        )
        error = capsys.readouterr().err
        assert said in error, setting
        assert "Traceback" not in error
    assert not (tmp_path / "other.safetensors").exists()


def test_weights_beyond_half_precision_are_refused(tmp_path):
    with pytest.raises(BadInput, match="a: holds what half precision cannot"):
        zoo.write(tmp_path / "x.safetensors", {"a": torch.tensor([1e6])}, {})
    assert not list(tmp_path.iterdir())


def test_an_encoder_takes_the_weights_of_a_trained_one(trained, tmp_path, compose):
    file = tmp_path / "model.safetensors"
    small = ("encoder=two_stream", "encoder.shared=true", "decoder=linknet", "flow=dis")
    assert cli.main(["export", str(trained(*small)), "-o", str(file)]) == 0
    state = zoo.read(file)[0]
    both = build.make(compose(*small, f"encoder.weights={file}").encoder, "encoder")
    both.load_weights()
    assert all(torch.equal(value, state[f"encoder.{name}"]) for name, value in both.state_dict().items())
    single = build.make(compose("encoder=efficientnet_lite0", f"encoder.weights={file}").encoder, "encoder")
    single.load_weights()
    stream = {f"encoder.appearance.{name}": value for name, value in single.state_dict().items()}
    assert stream
    assert all(torch.equal(value, state[name]) for name, value in stream.items())
    other = build.make(compose("encoder=mobilenetv4", f"encoder.weights={file}").encoder, "encoder")
    with pytest.raises(ValueError, match="of another encoder"):
        other.load_weights()


def test_names_are_looked_up_and_files_checked(tmp_path, monkeypatch):
    assert zoo.find("zoo/mine.safetensors").name == "mine.safetensors", "a folder of the user's own"
    assert zoo.find("zoo/mine/best.ckpt").name == "best.ckpt"
    with pytest.raises(BadInput, match="zoo/none: no such model ships"):
        zoo.find("zoo/none")
    assert zoo.find("runs/best.ckpt").name == "best.ckpt"
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    zoo.write(tmp_path / "tiny.safetensors", {"a": torch.ones(2)}, {"config": {}})
    digest = hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()
    (tmp_path / "digests.json").write_text(json.dumps({"tiny": digest}))
    assert zoo.names() == ["tiny"]
    assert zoo.read(zoo.find("zoo/tiny"))[1] == {"config": {}}
    with pytest.raises(BadInput, match="did you mean 'zoo/tiny'"):
        zoo.find("zoo/tinny")
    with pytest.raises(BadInput, match="or one that ships: zoo/tiny"):
        checkpoints.read(tmp_path / "none.ckpt")
    (tmp_path / "tiny.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput, match="missing or damaged"):
        zoo.find("zoo/tiny")


def test_files_of_others_are_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(BadInput, match="cannot be read as a model"):
        checkpoints.read(tmp_path / "text.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors", {"format": "davis_exp"})
    with pytest.raises(BadInput, match="has no config in it"):
        checkpoints.read(tmp_path / "other.safetensors")


def test_whatever_ships_is_whole():
    """Its digest holds, it has a card, and its config makes a model that its weights fit."""
    for name in zoo.names():
        checkpoint = checkpoints.read(f"zoo/{name}")
        checkpoints.restore(checkpoint)
        assert (zoo.FOLDER / f"{name}.md").is_file()
        assert "'/" not in str([checkpoint["clips"], checkpoint["config"]["data"]["parts"]]), "where data lay"
