"""The smallest network of each family of timm's, and of each of smp's, with every decoder: what is accepted trains.

About three and a half minutes of one core.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from davis_exp import budget
from davis_exp.models.empty import run_empty
from davis_exp.models.encoders.smp import SmpEncoder
from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.models.temporal.none import NoTemporal

CONF = Path(__file__).resolve().parents[2] / "conf"
SIZE = (96, 128)  # not of one network's own
TIMM_NAMES = """
beit_base_patch16_224 halonet_h1 test_byobnet cait_xxs24_224 coat_tiny convit_tiny convmixer_768_32 test_convnext
cpubone_nano crossvit_tiny_240 csatv2 cs3darknet_focus_s cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121
dla46x_c dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0 test_efficientnet efficientvim_m1
efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny
ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224 sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto
inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small levit_128s lowformer_b0 test_mambaout test_coatnet
maxvit_pico_rw_256 poolformerv2_s12 gmlp_ti16_224 lcnet_035 mobilenetv5_base mobilevit_xxs mvitv2_tiny
naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small test_nfnet pit_ti_224 pnasnet5large pvt_v2_b0
qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d test_resnet resnetv2_18
rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_legacy_patch16_224
tresnet_m twins_svt_small vgg11 visformer_tiny test_vit vit_tiny_r_s16_p8_224 test_vit_relpos samvit_base_patch16_224
vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw legacy_xception xception41p xcit_nano_12_p8_224
"""
SMP_NAMES = """
resnet18 dpn68 vgg11 se_resnet50 densenet121 inceptionresnetv2 inceptionv4 efficientnet-b0 mobilenet_v2 xception
timm-efficientnet-b0 timm-tf_efficientnet_lite0 timm-skresnet18 mit_b0 mobileone_s0 timm-regnetx_002
timm-res2net50_26w_4s timm-resnest14d timm-mobilenetv3_small_075 timm-gernet_s tu-swin_tiny_patch4_window7_224
tu-hiera_tiny_224
"""
TIMM, SMP = TIMM_NAMES.split(), SMP_NAMES.split()
NARROW = {"width": 32, "pyramid": 32, "widths": [8] * 7}  # quick to train, and enough of them for any encoder
NARROWER = ("boundary_lite", "cbam_lite", "fpn_light")  # the same decoders, once all are narrow


def decoders() -> Iterator[tuple[str, Any]]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for path in sorted((CONF / "decoder").glob("[!_]*.yaml")):
            node = compose(overrides=[f"+decoder={path.stem}"]).decoder
            yield path.stem, instantiate(node, **{key: NARROW[key] for key in NARROW if key in node})


DECODERS = {name: factory for name, factory in decoders() if name not in NARROWER}


def refused(encoder: Any, decoder: Any, features: list[Tensor]) -> str | None:
    """What `davis-exp budget -m` says of the two, which runs each part once. `features` are shapes."""
    try:
        with budget.empty_weights():
            model = VideoSegmenter(encoder, NoTemporal, decoder)
        run_empty(model.decoder, features, model.padded((2, *SIZE)))
    except ValueError as error:
        return str(error)
    return None


def check(kind: type, name: str) -> None:
    """Every decoder either trains a step with the encoder, or is refused by what `davis-exp budget` does."""
    with budget.empty_weights():
        empty = kind(name)
        model = VideoSegmenter(empty, NoTemporal, DECODERS["pixel"])
    budget.check_runs(model, 2, SIZE)
    shapes = run_empty(empty, torch.empty(1, 2, 3, *model.padded((2, *SIZE))[1:], device="meta"))
    torch.manual_seed(0)
    encoder: Any = kind(name).train()
    frames, masks = torch.rand(1, 2, 3, *SIZE), torch.rand(1, 2, 1, *SIZE)
    features: list[Tensor] = []
    leaves: list[Tensor] = []
    for decoder, factory in DECODERS.items():
        if (refusal := refused(empty, factory, shapes)) is not None:
            assert refusal.startswith("decoder: "), (decoder, refusal)
            assert "another encoder" in refusal, (decoder, refusal)
            continue
        model = VideoSegmenter(encoder, NoTemporal, factory).train()
        if not features:
            features = model.encode(frames)
            leaves = [level.detach().requires_grad_() for level in features]
        logits = model.decode(leaves, (2, *SIZE))[0].logits
        assert logits.shape == masks.shape, decoder
        F.binary_cross_entropy_with_logits(logits, masks).backward()
        given = [p.grad for p in model.decoder.parameters() if p.grad is not None]
        assert given, decoder
        assert all(torch.isfinite(grad).all() for grad in given), decoder
    assert features, "not even the pixel decoder"
    torch.autograd.backward(features, [leaf.grad for leaf in leaves])
    before = [p.detach().clone() for p in encoder.parameters()]
    torch.optim.SGD(encoder.parameters(), lr=1.0).step()
    assert any(not torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_of_timm(name: str) -> None:
    check(TimmEncoder, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMP)
@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated")
def test_of_smp(name: str) -> None:
    check(SmpEncoder, name)


def test_what_has_no_pyramid_is_no_encoder_of_smps() -> None:
    with pytest.raises(
        ValueError, match=r"^name=tu-test_vit: smp cannot build it .*Unsupported model downsampling pattern"
    ):
        SmpEncoder("tu-test_vit")


def test_the_families_are_nearly_all_of_timms() -> None:
    """Without a few that have nothing below 150 M parameters, and whatever a later timm brings."""
    modules = {timm.models._registry._model_to_module[name] for name in TIMM}
    assert len(modules) >= 90
    assert len(set(timm.list_modules()) - modules) <= 4


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TimmEncoder, "test_coatnet"), (TimmEncoder, "test_vit"), (SmpEncoder, "timm-regnetx_002")],
)
def test_in_short(kind: type, name: str) -> None:
    check(kind, name)


def test_an_encoder_of_values_is_run_for_real() -> None:
    """It cannot run on shapes: only its own answer tells whether it takes a size."""

    class Peeks(nn.Module):
        levels = TimmEncoder("lcnet_035").levels
        context, needs_motion, mean, std = (0, 0), False, 0.0, 1.0

        def forward(self, frames: Tensor, motion: Tensor | None) -> list[Tensor]:
            if frames.shape[-1] > 64 or frames.max().item() > 1:
                raise AssertionError("too wide")
            b, t, _, h, w = frames.shape
            levels = zip(self.levels.channels, self.levels.strides, strict=True)
            return [frames.new_zeros(b, t, c, h // s, w // s) for c, s in levels]

    model = VideoSegmenter(Peeks(), NoTemporal, DECODERS["pixel"])
    budget.check_runs(model, 2, (64, 64))
    with pytest.raises(
        ValueError, match=r"^encoder: cannot run on frames of 64 x 96 \(AssertionError: too wide"
    ):
        budget.check_runs(model, 2, (64, 96))
