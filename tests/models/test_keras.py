"""Keras models as parts, against Keras itself and the same architectures written in torch."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from davis_exp import budget
from davis_exp.models.segmenter import Prediction
from davis_exp.utils.errors import OverBudget

pytestmark = [
    pytest.mark.usefixtures("keras"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras', on NumPy 2
]


@pytest.fixture
def segmenter(keras):
    from davis_exp.models.keras.segmenter import KerasSegmenter

    keras.utils.set_random_seed(0)
    return KerasSegmenter("keras_models.unet").eval()


@pytest.fixture
def encoder(keras):
    from davis_exp.models.encoders.keras import KerasEncoder

    def make(name="MobileNetV2", **options):
        keras.utils.set_random_seed(0)
        return KerasEncoder(f"keras.applications.{name}", **options).eval()

    return make


@pytest.fixture
def twin(segmenter):
    from keras_models import Unet

    return Unet().take(segmenter.net).eval()


class Whole(nn.Module):
    """A torch network of images as a segmenter, padded to multiples of 4."""

    context, needs_motion = (0, 0), False

    def __init__(self, net, multiple=4):
        super().__init__()
        self.net, self.multiple = net, multiple

    def forward(self, frames, motion=None, state=None):
        _, t, _, h, w = frames.shape
        padded = nn.functional.pad(
            frames.flatten(0, 1), (0, -w % self.multiple, 0, -h % self.multiple), mode="replicate"
        )
        return Prediction(self.net(padded).unflatten(0, (-1, t))), ()


def probabilities(segmenter, frames):
    return segmenter(frames)[0].logits.sigmoid()


def test_it_answers_as_keras_does_and_as_torch_does(segmenter, twin):
    frames = torch.rand(2, 3, 3, 16, 24)
    found = probabilities(segmenter, frames)
    images = frames.flatten(0, 1).permute(0, 2, 3, 1).numpy()
    by_keras = segmenter.net.to_keras().predict_on_batch(images)  # (6, 16, 24, 1)
    assert np.allclose(found.detach().flatten(0, 1).permute(0, 2, 3, 1), by_keras, atol=1e-5)
    assert torch.allclose(found.flatten(0, 1), twin(frames.flatten(0, 1)).sigmoid(), atol=1e-5)


def test_sizes_that_the_model_does_not_take_are_padded(segmenter, twin):
    assert segmenter.multiple == 4
    frames = torch.rand(1, 1, 3, 17, 26)
    padded = nn.functional.pad(frames.flatten(0, 1), (0, 2, 0, 3), mode="replicate")
    assert torch.allclose(
        probabilities(segmenter, frames)[0], twin(padded).sigmoid()[..., :17, :26], atol=1e-5
    )


def test_it_learns_as_the_same_model_in_torch_does(segmenter, twin):
    """Losses, weights and running means after steps of SGD; Keras' running variance is not Bessel's."""
    for model in (segmenter, twin):
        model.train()
    (dropout,) = (layer for layer in segmenter.net.graph.layers if type(layer).__name__ == "Dropout")
    dropout.rate = 0.0
    twin.dropout.p = 0.0
    frames, masks = torch.rand(2, 1, 3, 16, 24), (torch.rand(2, 1, 1, 16, 24) > 0.5).float()
    ours, theirs = (torch.optim.SGD(model.parameters(), lr=0.1) for model in (segmenter, twin))
    for _ in range(3):
        for optimizer, logits in (
            (ours, segmenter(frames)[0].logits),
            (theirs, twin(frames.flatten(0, 1)).unflatten(0, (2, 1))),
        ):
            loss = nn.functional.binary_cross_entropy_with_logits(logits, masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    kernel, scale, shift, mean, _ = (value for _, value in sorted(segmenter.net.state_dict().items())[:5])
    _, conv, norm, _ = twin.blocks[0]
    assert torch.allclose(kernel.permute(3, 2, 0, 1), conv.weight, atol=1e-5)
    assert torch.allclose(scale, norm.weight, atol=1e-5)
    assert torch.allclose(shift, norm.bias, atol=1e-5)
    assert torch.allclose(mean, norm.running_mean, atol=1e-5)
    assert mean.abs().sum() > 0.01


def test_both_counts_and_flops_equal_those_of_keras_and_of_torch(segmenter, twin):
    cost, same = budget.measure(segmenter), budget.measure(Whole(twin))
    assert cost.parameters == segmenter.net.graph.count_params()
    assert cost.parameters - cost.statistics == same.parameters
    assert cost.flops == same.flops > 0
    assert f"by torch's {same.parameters:,}" in cost.table()
    with budget.empty_weights():
        hollow = type(segmenter)("keras_models.unet")
    assert budget.measure(hollow).to_dict() == cost.to_dict()


def test_an_application_costs_what_torchvision_s_does(encoder):
    own = encoder()
    theirs = torchvision.models.mobilenet_v2(weights=None).features
    (part,) = budget.count(own)
    assert part.parameters == own.net.graph.count_params()
    assert part.parameters - part.statistics == sum(p.numel() for p in theirs.parameters())

    class Head(nn.Module):
        context, needs_motion = (0, 0), False

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, frames, motion=None, state=None):
            return self.net(frames), ()

    size = (480, 864)  # as a segmenter pads frames of DAVIS
    images = nn.Sequential(nn.Flatten(0, 1), theirs)
    assert budget.measure(Head(own), size=size).flops == budget.measure(Head(images), size=size).flops


def test_what_is_over_the_limit_by_keras_count_alone_is_refused(segmenter):
    (part,) = budget.count(segmenter)
    with pytest.raises(OverBudget, match="by torch's 3,793"):
        budget.guard(segmenter, part.parameters - 1)
    budget.guard(segmenter, part.parameters)


def test_levels_are_what_the_layers_give(keras, encoder):
    own = encoder()
    assert own.levels.channels == (96, 144, 192, 576, 1280)
    assert own.levels.strides == (2, 4, 8, 16, 32)
    frames = torch.rand(1, 2, 3, 64, 96)
    maps = own(frames)
    net = own.net.to_keras()
    by_keras = net.predict_on_batch(frames[0].permute(0, 2, 3, 1).numpy() * 2 - 1)
    for level, theirs in zip(maps, by_keras, strict=True):
        assert np.allclose(level[0].detach().permute(0, 2, 3, 1), theirs, atol=1e-4)


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "DenseNet121", "EfficientNetB0"])
def test_frames_are_prepared_as_the_application_does(keras, name):
    from davis_exp.models.encoders.keras import KerasEncoder, _statistics

    function = getattr(keras.applications, name)
    mean, std, flipped = _statistics(function)
    frame = np.random.default_rng(0).random((1, 4, 5, 3), np.float32)
    prepared = (frame - mean) / std
    import sys

    theirs = sys.modules[function.__module__].preprocess_input(frame * np.float32(255))
    assert np.allclose(prepared[..., ::-1] if flipped else prepared, theirs, atol=1e-3)
    assert KerasEncoder.features is not None


def test_layers_may_be_named(encoder):
    own = encoder(layers=["block_3_expand_relu", "block_13_expand_relu"])
    assert own.levels.strides == (4, 16)
    with pytest.raises(ValueError, match=r"layers.*no_such"):
        encoder(layers=["no_such"])
    with pytest.raises(ValueError, match="fine to coarse"):
        encoder(layers=["block_13_expand_relu", "block_3_expand_relu"])


def test_options_reach_the_factory(encoder):
    small, large = encoder(alpha=0.35), encoder()
    assert small.net.graph.count_params() < large.net.graph.count_params()
    with pytest.raises(ValueError, match="alpha_"):
        encoder(alpha_=0.35)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_come_from_keras_files(encoder, segmenter, keras, tmp_path, suffix):
    from davis_exp.models.encoders.keras import KerasEncoder
    from davis_exp.models.keras.segmenter import KerasSegmenter

    keras.utils.set_random_seed(5)
    whole = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(None, None, 3))
    for model, name in ((whole, "encoder"), (segmenter.net.to_keras(), "model")):
        path = str(tmp_path / f"{name}{suffix}")
        model.save(path) if suffix == ".keras" else model.save_weights(path)
    own = encoder(weights=str(tmp_path / f"encoder{suffix}"))
    kernel = own.net.state_dict()["0000_kernel"]
    assert not np.array_equal(kernel, whole.weights[0].numpy())
    own.load_weights()
    kernel = own.net.state_dict()["0000_kernel"]
    assert np.array_equal(kernel, whole.weights[0].numpy())
    again = KerasSegmenter("keras_models.unet", weights=str(tmp_path / f"model{suffix}"))
    again.load_weights()
    for name, value in segmenter.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name])
    other = KerasEncoder("keras_models.unet", weights=str(tmp_path / f"encoder{suffix}"))
    with pytest.raises(ValueError, match="cannot load them"):
        other.load_weights()


def test_what_is_frozen_by_its_maker_stays_so_and_counts(keras):
    from davis_exp.models.keras.net import KerasNet

    def make():
        from keras_models import unet

        model = unet()
        model.trainable = False
        return model

    net = KerasNet(make).train()
    before = copy.deepcopy(net.state_dict())
    net(torch.rand(1, 3, 16, 16))
    assert not any(p.requires_grad for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert sum(p.numel() for p in net.parameters()) + net.moving_statistics == net.graph.count_params()


def test_copies_have_weights_of_their_own_and_the_same_names(segmenter):
    other = copy.deepcopy(segmenter)
    assert list(other.state_dict()) == list(type(segmenter)("keras_models.unet").state_dict())
    frames = torch.rand(1, 1, 3, 8, 8)
    before = probabilities(segmenter, frames)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(probabilities(segmenter, frames), before)
    assert torch.all(probabilities(other, frames) == 0.5)


def test_random_numbers_follow_torch_s_seed(segmenter):
    segmenter.train()
    frames = torch.rand(1, 1, 3, 16, 16)

    def drawn(seed):
        torch.manual_seed(seed)
        return copy.deepcopy(segmenter)(frames)[0].logits

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_a_model_of_one_size_sees_frames_resized(keras):
    from davis_exp.models.keras.segmenter import KerasSegmenter

    own = KerasSegmenter("keras_models.pictures")
    assert own.image_size == (32, 32)
    assert own(torch.rand(1, 2, 3, 20, 50))[0].logits.shape == (1, 2, 1, 20, 50)


def test_a_sigmoid_at_its_end_gives_probabilities_and_nothing_gives_logits(segmenter, keras):
    from davis_exp.models.keras.segmenter import KerasSegmenter

    frames = torch.full((1, 1, 3, 32, 32), 0.3)
    raw = segmenter.net(frames[0])[0]
    assert torch.allclose(probabilities(segmenter, frames)[0], raw, atol=1e-5)
    linear = KerasSegmenter("keras_models.pictures").eval()
    assert torch.equal(linear(frames)[0].logits[0], linear.net(frames[0])[0])
    forced = KerasSegmenter("keras_models.unet", output="logits").eval()
    assert torch.equal(forced(frames)[0].logits[0], forced.net(frames[0])[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"factory": "no_such_module.make"}, "cannot import"),
        ({"factory": "keras_models.no_such"}, "cannot import"),
        ({"factory": "keras_models.WIDTH"}, "no function"),
        ({"factory": "keras_models.no_model"}, "makes a int, no keras.Model"),
        ({"factory": "keras_models.unet", "wide": 3}, "wide"),
        ({"factory": "keras.applications.MobileNetV2", "weights": None}, "is needed"),
        ({"factory": "keras_models.unet", "output": "odds"}, "output must be one of"),
        ({}, "factory: give"),
    ],
)
def test_what_is_no_such_model_is_refused(arguments, said):
    from davis_exp.models.keras.segmenter import KerasSegmenter

    with pytest.raises(ValueError, match=said):
        KerasSegmenter(**arguments)


def test_setting_up_logging_anew_closes_nobodys_stderr(keras):

    code = (
        "import io, sys, logging.config\n"
        "from davis_exp.models.keras import backend\n"
        "sys.stderr = io.StringIO()\n"  # as a notebook's, or pytest's
        "backend.keras()\n"
        "logging.config.dictConfig({'version': 1})\n"
        "sys.stdout.write(str(sys.stderr.closed))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False"
