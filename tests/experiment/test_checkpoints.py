import pytest
import torch

from davis_exp.experiment import checkpoints
from davis_exp.utils.errors import BadInput


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


def test_a_run_that_validated_nothing_names_the_checkpoint_that_it_has(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    with pytest.raises(BadInput, match=r"no file .*best\.ckpt; as nothing was validated, give .*last\.ckpt$"):
        checkpoints.read(tmp_path)


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("pwned",))

    torch.save({"config": {}, "state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(BadInput, match="no checkpoint of davis-exp"):
        checkpoints.read(tmp_path / "evil.ckpt")


@pytest.fixture(scope="module")
def good():
    """A checkpoint as training writes it, of the smallest model."""
    from omegaconf import OmegaConf

    from davis_exp.experiment import build

    encoder = {"_target_": "davis_exp.models.encoders.pixel.PixelEncoder", "_convert_": "all"}
    parts = {
        "model": {
            "_target_": "davis_exp.models.segmenter.VideoSegmenter",
            "_partial_": True,
            "_convert_": "all",
        },
        "encoder": encoder,
        "temporal": {"_target_": "davis_exp.models.temporal.none.NoTemporal", "_partial_": True},
        "decoder": {"_target_": "davis_exp.models.decoders.pixel.PixelDecoder", "_partial_": True},
    }
    model = build.build_model(OmegaConf.create(parts))
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    return {"config": {**parts, "flow": {}, "inference": {"size": [64, 96]}}, "state_dict": state}


def saved(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def test_the_model_takes_over_the_weights_of_its_checkpoint(good, tmp_path):
    model = checkpoints.restore(checkpoints.read(saved(good, tmp_path)))
    own = {f"model.{name}": value for name, value in model.state_dict().items()}
    assert own.keys() == good["state_dict"].keys()
    assert all(torch.equal(own[name], good["state_dict"][name]) for name in own)
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())


@pytest.mark.parametrize(
    "target",
    [
        "subprocess.check_output",
        "davis_exp.models.zoo.write",
        "no_such_package.Model",
        "davis_exp.models.decoders.pixel.PixelDecoder",  # a part, but no encoder
        "davis_exp.results.writer.ResultsWriter",
    ],
)
def test_a_config_that_came_with_a_file_makes_only_what_its_group_has(good, tmp_path, target):
    for node in ({"_target_": target}, {**good["config"]["encoder"], "fusion": [{"_target_": target}]}):
        path = saved({**good, "config": {**good["config"], "encoder": node}}, tmp_path)
        with pytest.raises(BadInput, match=rf"encoder(\.fusion\.0)?\._target_ is {target}, no encoder"):
            checkpoints.read(path)


def test_a_class_that_the_user_allows_may_be_named(good, tmp_path, monkeypatch):
    code = "from davis_exp.models.encoders.pixel import PixelEncoder\nclass Mine(PixelEncoder): pass\n"
    (tmp_path / "allowed_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    node = {**good["config"]["encoder"], "_target_": "allowed_module.Mine"}
    path = saved({**good, "config": {**good["config"], "encoder": node}}, tmp_path)
    with pytest.raises(BadInput, match=r"--allow allowed_module\.Mine"):
        checkpoints.read(path)
    model = checkpoints.restore(checkpoints.read(path, ["allowed_module.Mine"]))
    assert type(model.encoder).__name__ == "Mine"


def test_nothing_in_a_stored_config_is_resolved(good, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cr3t")
    for config in (
        {**good["config"], "payload": {"_target_": "os.getcwd"}, "encoder": "${payload}"},
        {**good["config"], "name": "${oc.env:SECRET}"},
        {**good["config"], "inference": {"window": "???"}},
        {**good["config"], "inference": {"carry": 1.5}},
        *(
            {**good["config"], "inference": {"flow_gaps": gaps}}
            for gaps in ([], [0], [[1]], "1", [1, 1], [1e3])
        ),
        {**good["config"], "inference": {"track": ["mass"]}},
        {**good["config"], "inference": {"track": "motion", "track_share": "half"}},
    ):
        with pytest.raises(BadInput) as refused:
            checkpoints.read(saved({**good, "config": config}, tmp_path))
        assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda t: t * float("nan"), "holds NaN or infinity"),
        (lambda t: torch.zeros(1).expand(2**40), "no plain tensor"),
        (lambda t: t.to_sparse(), "no plain tensor"),
        (lambda t: "text", "no tensor"),
    ],
)
def test_weights_must_be_whole(good, tmp_path, make, why):
    name = next(iter(good["state_dict"]))
    path = saved(
        {**good, "state_dict": {**good["state_dict"], name: make(good["state_dict"][name])}}, tmp_path
    )
    with pytest.raises(BadInput, match=why):
        checkpoints.read(path)


def test_a_model_larger_than_its_file_costs_nothing(good, tmp_path):
    node = {
        **good["config"]["encoder"],
        "_target_": "davis_exp.models.encoders.efficientnet_lite.EfficientNetLite",
    }
    checkpoint = checkpoints.read(saved({**good, "config": {**good["config"], "encoder": node}}, tmp_path))
    with pytest.raises(BadInput, match="its weights do not fit its model"):
        checkpoints.restore(checkpoint)
