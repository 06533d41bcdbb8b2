"""VideoSegmenter: the joining of parts, padding, and that streaming equals the whole clip."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from davis_exp.models.decoders.pixel import PixelDecoder
from davis_exp.models.decoders.smp import FPN, Unet
from davis_exp.models.encoders.pixel import PixelEncoder
from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.encoders.two_stream import TwoStreamEncoder
from davis_exp.models.fusion.sum import Sum
from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import Prediction, VideoSegmenter, join_contexts
from davis_exp.models.temporal.conv_gru import ConvGRU
from davis_exp.models.temporal.none import NoTemporal


class Shrink(nn.Module):
    """An encoder that keeps every second frame and every fourth pixel, and records what it was given."""

    channels = (3,)
    strides = (4,)
    temporal_strides = (2,)
    context = (1, 1)
    needs_motion = False
    mean = std = None

    def load_weights(self) -> None: ...

    def forward(self, frames: Tensor, motion: Tensor | None) -> list[Tensor]:
        self.seen, self.motion = frames, motion
        return [frames[:, ::2, :, ::4, ::4]]


class NeedsMotion(PixelEncoder):
    needs_motion = True

    def forward(self, frames: Tensor, motion: Tensor | None = None) -> list[Tensor]:
        assert motion is not None
        return [motion]


class Difference(nn.Module):
    """A flow network of its kind."""

    context = (1, 0)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, frames: Tensor) -> Tensor:
        return self.gain * (frames - frames.roll(1, dims=1))


def small(temporal=NoTemporal, decoder=Unet) -> VideoSegmenter:
    """A random model, with the running statistics that keep its activations at unit scale in evaluation.

    In float64: the random layers blow rounding up, and what these tests compare is meant to be equal.
    """
    torch.manual_seed(0)
    model = VideoSegmenter(TimmEncoder("lcnet_050"), temporal, decoder)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.rand(2, 2, 3, 96, 160))
    return model.eval().double()


@pytest.mark.parametrize("decoder", [Unet, FPN, PixelDecoder])
@pytest.mark.parametrize("size", [(97, 151), (64, 96), (33, 32)])
def test_logits_have_the_frames_size(decoder, size: tuple[int, int]) -> None:
    frames = torch.rand(2, 3, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        prediction, state = small(decoder=decoder)(frames)
    assert prediction.logits.shape == (2, 3, 1, *size)
    assert state == ()
    assert prediction.logits.std() > 0


def test_pads_by_replication_and_crops_back(clip: Tensor) -> None:
    model = VideoSegmenter(Shrink(), NoTemporal, PixelDecoder)
    prediction, _ = model(clip)
    seen = model.encoder.seen
    assert seen.shape == (1, 6, 3, 100, 152)
    assert torch.equal(seen[:, :5, :, :97, :151], clip)
    assert torch.equal(seen[:, 5, :, :97, :151], clip[:, 4])
    assert torch.equal(seen[:, :5, :, 99, :151], clip[..., 96, :])
    assert torch.equal(seen[:, :5, :, :97, 151], clip[..., 150])
    assert prediction.logits.shape == (1, 5, 1, 97, 151)


def test_padding_changes_nothing_far_from_the_border() -> None:
    """On a frame that is constant, so is what replication adds: cropping gives what a larger frame would."""
    model = small()
    frames = torch.full((1, 1, 3, 97, 151), 0.3, dtype=torch.float64)
    larger = torch.full((1, 1, 3, 128, 160), 0.3, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(model(frames)[0].logits, model(larger)[0].logits[..., :97, :151])


def test_frames_are_independent_without_a_temporal_part(clip: Tensor) -> None:
    model, clip = small(), clip.double()
    assert model.context == (0, 0)
    with torch.no_grad():
        whole = model(clip)[0].logits
        alone = torch.cat([model(clip[:, t : t + 1])[0].logits for t in range(5)], dim=1)
    torch.testing.assert_close(whole, alone, atol=1e-8, rtol=0)


@pytest.mark.parametrize("levels", [(-1,), (1, 3)])
def test_streaming_equals_the_whole_clip(clip: Tensor, levels: tuple[int, ...]) -> None:
    model, clip = small(temporal=partial(ConvGRU, width=16, levels=levels)), clip.double()
    assert model.context is None
    with torch.no_grad():
        whole, last = model(clip)
        state, steps = None, []
        for t in range(5):
            prediction, state = model(clip[:, t : t + 1], state=state)
            steps.append(prediction.logits)
        forgetful = model(clip[:, 4:])[0].logits
    assert (steps[4] - forgetful).abs().max() > 1e-2  # the state matters
    assert (whole.logits - torch.cat(steps, dim=1)).abs().max() <= 1e-8
    for ours, theirs in zip(state, last, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-8, rtol=0)


def test_memory_reaches_later_frames_only(clip: Tensor) -> None:
    model, clip = small(temporal=partial(ConvGRU, width=16)), clip.double()
    changed = clip.clone()
    changed[:, 2] = 1 - changed[:, 2]
    with torch.no_grad():
        difference = (model(clip)[0].logits - model(changed)[0].logits).abs().amax(dim=(0, 2, 3, 4))
    assert difference[:2].max() == 0
    assert difference[2:].min() > 1e-3


def test_encode_then_decode_is_forward(clip: Tensor) -> None:
    model, clip = small(temporal=partial(ConvGRU, width=16)), clip.double()
    with torch.no_grad():
        features = model.encode(clip)
        prediction, _ = model.decode(features, (5, 97, 151))
        assert torch.equal(prediction.logits, model(clip)[0].logits)


def test_auxiliary_logits_are_fitted_too() -> None:
    class WithAux(PixelDecoder):
        def forward(self, features, size):
            main = super().forward(features, size)
            return Prediction(main.logits, {"coarse": main.logits[..., ::2, ::2]})

    prediction, _ = VideoSegmenter(Shrink(), NoTemporal, WithAux)(torch.rand(1, 3, 3, 9, 13))
    assert prediction.aux["coarse"].shape == prediction.logits.shape == (1, 3, 1, 9, 13)


@pytest.mark.parametrize(
    ("contexts", "joined"),
    [
        ([(0, 0), (0, 0)], (0, 0)),
        ([(0, 0), None], None),
        ([(1, 0), (2, 3), (0, 0)], (3, 3)),
    ],
)
def test_contexts_join(contexts: list, joined) -> None:
    assert join_contexts({str(i): context for i, context in enumerate(contexts)}) == joined


def test_state_beside_a_window_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"temporal carries state .* encoder looks at .*\(1, 1\).*change temporal to one without",
    ):
        VideoSegmenter(Shrink(), ConvGRU, PixelDecoder)


def test_learned_flow_feeds_the_encoder_and_adds_its_context(clip: Tensor) -> None:
    model = VideoSegmenter(NeedsMotion(), NoTemporal, PixelDecoder, flow=Difference())
    assert not model.needs_motion
    assert model.context == (1, 0)
    assert torch.equal(model.encode(clip)[0], 2 * (clip - clip.roll(1, dims=1)))
    given = torch.rand_like(clip)
    assert torch.equal(model.encode(clip, given)[0], given)  # motion that is given is not computed again


def test_motion_is_asked_for() -> None:
    model = VideoSegmenter(NeedsMotion(), NoTemporal, PixelDecoder)
    assert model.needs_motion
    with pytest.raises(ValueError, match=r"^motion is needed.*`flow`"):
        model(torch.rand(1, 1, 3, 8, 8))


def test_unused_flow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^flow: the encoder uses no motion"):
        VideoSegmenter(PixelEncoder(), NoTemporal, PixelDecoder, flow=Difference())


def test_integer_frames_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8"):
        small()(torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("temporal", "decoder", "message"),
    [
        (partial(ConvGRU, widht=3), PixelDecoder, "temporal: ConvGRU cannot be called with widht.*'widht'"),
        (NoTemporal, partial(Unet, width=3), "decoder: Unet cannot be called with width"),
        (NoTemporal, nn.Conv2d(3, 1, 1), "decoder: already built.*_partial_: true"),
        (lambda inputs: nn.Identity(), PixelDecoder, "temporal: Identity declares no `levels`"),
        (NoTemporal, lambda inputs: nn.Identity(), "decoder: Identity declares no `context`"),
        (lambda *, channels: nn.Identity(), PixelDecoder, "temporal: .*inputs"),
        (
            NoTemporal,
            Unet,
            "decoder: Unet needs .* use the pixel decoder, which takes any, or another encoder",
        ),
        (partial(ConvGRU, width=0), PixelDecoder, "temporal.width must be at least 1, got 0"),
    ],
)
def test_parts_that_cannot_be_joined_are_named(temporal, decoder, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        VideoSegmenter(PixelEncoder(), temporal, decoder)
    assert "\n" not in str(refusal.value)


def test_an_encoder_may_declare_three_attributes_in_place_of_levels(clip: Tensor) -> None:
    """As all did before there was `Levels`; `Shrink` does."""
    assert not hasattr(Shrink(), "levels")
    assert VideoSegmenter(Shrink(), NoTemporal, PixelDecoder).temporal.levels == Levels((3,), (4,), (2,))
    encoder = Shrink()
    encoder.strides = (4, 8)
    with pytest.raises(ValueError, match=r"^encoder: no levels, or not as many channels as strides"):
        VideoSegmenter(encoder, NoTemporal, PixelDecoder)


def test_weights_that_cannot_be_loaded_are_named_by_their_part() -> None:
    streams = TwoStreamEncoder(
        PixelEncoder(), TimmEncoder("lcnet_050", weights="nonsense"), Sum, finest=1, shared=True
    )
    streams.motion = TimmEncoder("lcnet_050", weights="nonsense")
    with pytest.raises(ValueError, match=r"^encoder.motion.weights=nonsense: cannot load them for lcnet_050"):
        VideoSegmenter(streams, NoTemporal, PixelDecoder).load_weights()


def test_a_prediction_describes_each_frame_by_the_level_nearest_to_a_sixteenth() -> None:
    model = small()
    assert model.features_stride == 16
    frames = torch.rand(1, 2, 3, 50, 70)
    with torch.no_grad():
        features = model(frames)[0].features
        level = model.encode(frames)[model.levels.strides.index(16)]
    assert features is not None
    assert features.stride == 16
    torch.testing.assert_close(features.values, level[..., :4, :5])  # without what lies in the padding alone


def test_features_of_every_second_frame_are_those_of_the_next_too() -> None:
    model = VideoSegmenter(Shrink(), NoTemporal, PixelDecoder)
    assert model.features_stride == 4
    frames = torch.rand(1, 3, 3, 30, 21)
    features = model(frames)[0].features
    assert features is not None
    assert features.values.shape == (1, 3, 3, 8, 6)
    torch.testing.assert_close(features.values[:, 0], features.values[:, 1])
    torch.testing.assert_close(features.values[:, 2], model.encoder.seen[:, 2, :, ::4, ::4][..., :8, :6])
