"""Stored features are those that the encoder gives, found again, and train the decoder alone."""

import numpy as np
import pytest
import torch

from davis_exp.data.cache import clear
from davis_exp.data.features import FeatureStore
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.experiment import build
from davis_exp.utils.errors import BadInput


@pytest.fixture
def sequences():
    return GeneratedSource(train=2, test=1, length=5, height=40, width=56).sequences("train")


def encode(frames):
    """Two levels: the frames' mean colour, and every other pixel."""
    return [frames.mean((-2, -1), keepdim=True), frames[..., ::2, ::2]]


def test_a_clip_has_the_features_and_masks_of_its_frames(sequences, tmp_path):
    store = FeatureStore(encode, "mean", (20, 28), tmp_path)
    store.prepare(sequences)
    clip = store.clip(sequences[1], [3, 0])
    mean, half = clip["features"]
    assert (mean.shape, half.shape, half.dtype) == ((2, 3, 1, 1), (2, 3, 10, 14), torch.float16)
    frames = np.stack([sequences[1].frame(i) for i in (3, 0)]) / 255
    np.testing.assert_allclose(mean[..., 0, 0].numpy(), frames.mean((1, 2)), atol=2e-3)
    assert clip["masks"].shape == (2, 1, 20, 28)
    assert clip["masks"].float().mean() == pytest.approx(
        np.mean([sequences[1].mask(i).mean() for i in (3, 0)]), abs=0.02
    )


def test_features_are_computed_once_for_one_encoder_and_size(sequences, tmp_path):
    seen = []

    def counted(frames):
        seen.append(frames.shape)
        return encode(frames)

    for digest, size, expected in (
        ("a", (8, 8), 10),
        ("a", (8, 8), 10),
        ("b", (8, 8), 20),
        ("b", (8, 10), 30),
    ):
        FeatureStore(counted, digest, size, tmp_path).prepare(sequences)
        assert len(seen) == expected


def test_an_encoder_that_fails_half_way_leaves_nothing_to_be_found(sequences, tmp_path):
    def failing(frames, left=[3]):  # noqa: B006
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("out of memory")
        return encode(frames)

    with pytest.raises(RuntimeError):
        FeatureStore(failing, "x", (8, 8), tmp_path).prepare(sequences)
    store = FeatureStore(encode, "x", (8, 8), tmp_path)
    store.prepare(sequences)
    assert torch.isfinite(store.clip(sequences[0], [0, 1, 2, 3, 4])["features"][1]).all()


def test_a_folder_that_cannot_be_written_is_bad_input(sequences, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="DAVIS_EXP_CACHE"):
        FeatureStore(encode, "x", (8, 8), tmp_path / "file").prepare(sequences)


def test_features_that_were_cleared_meanwhile_are_bad_input(sequences, tmp_path):
    store = FeatureStore(encode, "x", (8, 8), tmp_path)
    store.prepare(sequences)
    clear(tmp_path)
    with pytest.raises(BadInput, match="are gone from"):
        store.clip(sequences[0], [0])


FROZEN = ("encoder=efficientnet_lite0_frozen", "augmentation=none", "task.store_features=true")


def test_stored_features_decode_to_what_the_whole_model_says(compose, sequences, tmp_path):
    cfg = compose(*FROZEN, "decoder=linknet")
    model = build.build_model(cfg)
    store = build.build_features(cfg, model, (40, 56))
    store.folder = tmp_path
    model.eval()
    store.prepare(sequences)
    features = [level[None].float() for level in store.clip(sequences[0], [1, 2])["features"]]
    with torch.no_grad():
        kept, _ = model.decode(features, (2, 40, 56))
        frames = np.stack([sequences[0].frame(i) for i in (1, 2)])
        whole, _ = model(torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255)
    torch.testing.assert_close(kept.logits, whole.logits, atol=2e-2, rtol=2e-2)  # half precision


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("encoder=resnet18", "freeze"),
        ("augmentation=light", "augmentation=none"),
        ("encoder=csn50 encoder.frozen=true decoder=refine3d_light", "one by one"),
    ],
)
def test_features_that_would_change_are_not_stored(compose, override, message):
    cfg = compose(*FROZEN, *override.split())
    with pytest.raises(BadInput, match=message):
        build.build_features(cfg, build.build_model(cfg), (8, 8))
