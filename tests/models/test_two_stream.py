"""Two streams: their sizes against the published ones, how they run, and what they refuse."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from davis_exp import budget
from davis_exp.experiment import build
from davis_exp.models.decoders.cbam import CBAMDecoder
from davis_exp.models.encoders.efficientnet_lite import EfficientNetLite
from davis_exp.models.encoders.pixel import PixelEncoder
from davis_exp.models.encoders.smp import SmpEncoder
from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.encoders.two_stream import TwoStreamEncoder
from davis_exp.models.fusion.aligned import Aligned
from davis_exp.models.fusion.gated import Gated
from davis_exp.models.fusion.mat import MotionAttentiveTransition
from davis_exp.models.fusion.sum import Sum
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.models.temporal.none import NoTemporal

FUSIONS = [Sum, Gated, MotionAttentiveTransition, Aligned]


def resnet(depth: int = 18) -> SmpEncoder:
    return SmpEncoder(f"resnet{depth}")


def inputs(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=generator), torch.rand(*shape, generator=generator)


@pytest.mark.parametrize(
    ("overrides", "millions"),
    [
        (["encoder=two_stream_tmo", "decoder=cbam"], 93.0),
        (["encoder=two_stream_matnet", "decoder=boundary"], 142.7 - 23.4),
        (
            [
                *("encoder=two_stream", "decoder=cbam"),
                *("encoder@encoder.appearance=mit_b1", "encoder@encoder.motion=mit_b1"),
            ],
            33.6,
        ),
        # The authors' 13.7 M are trunk and head; the alignment of the four levels comes on top.
        (["encoder=two_stream_hfan", "decoder=segformer", "fusion@encoder.fusion=sum"], 13.7),
    ],
    ids=["TMO", "MATNet", "TMO with MiT-B1", "HFAN's baseline"],
)
def test_published_sizes(compose, overrides: list[str], millions: float) -> None:
    with budget.empty_weights():
        model = build.build_model(compose("flow=dis", *overrides))
    parameters = sum(part.parameters for part in budget.count(model))
    assert parameters / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    "encoder",
    [
        *(lambda: resnet(18), lambda: resnet(50), lambda: SmpEncoder("mit_b0")),
        *(lambda: SmpEncoder("resnet18", depth=3), lambda: SmpEncoder("resnet18", output_stride=16)),
        *(lambda: TimmEncoder("resnet18"), lambda: TimmEncoder("mobilenetv4_conv_small")),
        *(lambda: TimmEncoder("convnext_atto"), lambda: EfficientNetLite(0)),
    ],
)
def test_stages_in_order_are_the_network(encoder) -> None:
    encoder = encoder().eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = encoder.features(x)
        for stage, level in zip(encoder.stages, expected, strict=True):
            x = stage(x)
            torch.testing.assert_close(x, level)


def test_stages_add_nothing_to_the_state_dict() -> None:
    encoder = resnet()
    before = set(encoder.state_dict())
    assert encoder.stages
    assert set(encoder.state_dict()) == before


def test_levels_are_merged_one_by_one() -> None:
    appearance, motion = resnet().eval(), resnet().eval()
    encoder = TwoStreamEncoder(appearance, motion, Sum).eval()
    frames, flow = inputs(2, 3, 3, 64, 96)
    with torch.no_grad():
        levels = encoder(frames, flow)
        pairs = list(zip(appearance(frames), motion(flow), strict=True))
    assert encoder.levels.strides == (4, 8, 16, 32)
    assert encoder.levels.channels == (64, 128, 256, 512)
    for level, (a, m) in zip(levels, pairs[1:], strict=True):  # without the one at stride 2
        torch.testing.assert_close(level, a + m)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("shared", [False, True])
def test_any_size_and_gradients_reach_both_streams(fusion, shared: bool) -> None:
    torch.manual_seed(0)
    encoder = TwoStreamEncoder(resnet(), None if shared else resnet(), fusion, shared=shared)
    model = VideoSegmenter(encoder, NoTemporal, partial(CBAMDecoder, width=8))
    frames, flow = (clip.requires_grad_() for clip in inputs(1, 2, 3, 61, 75))
    prediction, state = model(frames, flow)
    prediction.logits.square().mean().backward()
    assert prediction.logits.shape == (1, 2, 1, 61, 75)
    assert state == ()
    assert model.needs_motion
    assert model.context == (0, 0)
    for clip in (frames, flow):
        assert torch.isfinite(clip.grad).all()
        assert clip.grad.abs().sum() > 0
    untouched = [name for name, p in model.named_parameters() if p.grad is None]
    assert not untouched


@pytest.mark.parametrize("fusion", [Sum, MotionAttentiveTransition])
def test_a_shared_trunk_sees_both_and_counts_once(fusion) -> None:
    trunk = resnet().eval()
    encoder = TwoStreamEncoder(trunk, resnet(50), fusion, shared=True).eval()
    twin = TwoStreamEncoder(trunk, trunk, lambda **_: encoder.fusion).eval()
    frames, flow = inputs(1, 2, 3, 64, 64)
    with torch.no_grad():
        for level, expected in zip(encoder(frames, flow), twin(frames, flow), strict=True):
            torch.testing.assert_close(level, expected)
    own = budget.count(encoder)[0].parameters
    assert own == budget.count(trunk)[0].parameters + budget.count(encoder.fusion)[0].parameters
    assert own == budget.count(twin)[0].parameters


def test_a_transition_changes_what_the_next_stage_sees() -> None:
    torch.manual_seed(0)
    appearance, motion = resnet().eval(), resnet().eval()
    encoder = TwoStreamEncoder(appearance, motion, MotionAttentiveTransition).eval()
    seen: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _, args: seen.__setitem__(name, args[0]))

    note("res4 of appearance", appearance.net.layer3)
    note("res4 of motion", motion.net.layer3)
    encoder.fusion.transitions[0].register_forward_hook(
        lambda _, args, results: seen.update({"res3": args, "after": results})  # type: ignore[arg-type]
    )
    frames, flow = inputs(1, 1, 3, 64, 64)
    with torch.no_grad():
        encoder(frames, flow)
    for i, stream in enumerate(("appearance", "motion")):
        assert torch.equal(seen[f"res4 of {stream}"], seen["after"][i])
        assert not torch.equal(seen["res3"][i], seen["after"][i])


@pytest.mark.parametrize(("fusion", "reaches"), [(Sum, False), (MotionAttentiveTransition, True)])
def test_only_a_transition_lets_motion_into_the_appearance_stream(fusion, reaches: bool) -> None:
    torch.manual_seed(0)
    appearance = resnet().eval()
    encoder = TwoStreamEncoder(appearance, resnet(), fusion).eval()
    outputs: list[Tensor] = []
    appearance.net.layer4.register_forward_hook(lambda _, args, output: outputs.append(output))
    frames, flow = inputs(1, 1, 3, 64, 64)
    with torch.no_grad():
        encoder(frames, flow)
        encoder(frames, 1 - flow)
    assert torch.equal(*outputs) is not reaches


def test_streams_may_differ_in_width_and_in_fine_levels() -> None:
    for fusion in FUSIONS:
        encoder = TwoStreamEncoder(resnet(), SmpEncoder("mit_b0"), fusion).eval()
        with torch.no_grad():
            levels = encoder(*inputs(1, 2, 3, 64, 64))
        shapes = [
            (1, 2, c, 64 // s, 64 // s)
            for c, s in zip(encoder.levels.channels, encoder.levels.strides, strict=True)
        ]
        assert [tuple(level.shape) for level in levels] == shapes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TwoStreamEncoder(resnet(), TimmEncoder("swin_tiny_patch4_window7_224"), FUSIONS[2]),
            r"^fusion: .*motion \(swin_tiny_patch4_window7_224\) has no `stages`: .*level by level",
        ),
        (
            lambda: TwoStreamEncoder(resnet(), SmpEncoder("resnet18", output_stride=16), Sum),
            r"same strides, 4 .*\(2, 4, 8, 16, 32\) and \(2, 4, 8, 16, 16\): change one",
        ),
        (lambda: TwoStreamEncoder(PixelEncoder(), PixelEncoder(), Sum), r"same strides, 4 .*\(1,\)"),
        (lambda: TwoStreamEncoder(resnet(), None, Sum), r"^motion: there is none; .*shared=true"),
        (
            lambda: TwoStreamEncoder(TwoStreamEncoder(resnet(), resnet(), Sum), resnet(), Sum),
            r"^appearance: it needs motion itself",
        ),
        (
            lambda: TwoStreamEncoder(resnet(), resnet(), nn.Identity()),
            r"^fusion: already built; .*_partial_: true",
        ),
        (
            lambda: TwoStreamEncoder(*(resnet(), resnet()), partial(MotionAttentiveTransition, after=(2, 8))),
            r"^fusion\.after must be strides of \(4, 8, 16, 32\).*\[2, 8\]",
        ),
    ],
    ids=["stages", "strides", "no level", "no motion", "nested", "built fusion", "after"],
)
def test_what_cannot_work_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)


class Looking(PixelEncoder):
    """An encoder of frames and their neighbours."""

    def __init__(self, past: int, future: int) -> None:
        super().__init__()
        self.context = (past, future)


def test_the_context_is_the_wider_of_the_streams() -> None:
    assert TwoStreamEncoder(Looking(3, 0), Looking(1, 2), Sum, finest=1).context == (3, 2)


def test_frozen_is_everything() -> None:
    encoder = TwoStreamEncoder(resnet(), resnet(), Gated, frozen=True).train()
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.modules())


def test_weights_are_loaded_into_both_streams(monkeypatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(SmpEncoder, "load_weights", lambda self: loaded.append(self.name))
    TwoStreamEncoder(resnet(18), resnet(34), Sum).load_weights()
    TwoStreamEncoder(resnet(50), None, Sum, shared=True).load_weights()
    assert loaded == ["resnet18", "resnet34", "resnet50"]


def test_each_stream_normalises_its_own_input() -> None:
    lite = EfficientNetLite(0)
    encoder = TwoStreamEncoder(resnet(), lite, Sum)
    assert torch.equal(encoder.mean, encoder.appearance.mean)
    assert torch.equal(encoder.std, encoder.appearance.std)
    assert not torch.equal(encoder.mean, lite.mean)
