"""Temporal parts: what they compute, how far they look, and that streaming equals the whole clip."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.inference import Inference, predict
from davis_exp.models.decoders.pixel import PixelDecoder
from davis_exp.models.encoders.pixel import PixelEncoder
from davis_exp.models.encoders.timm import TimmEncoder
from davis_exp.models.levels import Levels
from davis_exp.models.segmenter import VideoSegmenter
from davis_exp.models.temporal.attention import AttentionCell, TemporalAttention
from davis_exp.models.temporal.memory import MemoryBank, MemoryCell
from davis_exp.models.temporal.shift import ShiftCell, TemporalShift, shift
from davis_exp.models.temporal.temporal_conv import ConvCell, TemporalConv

LEVELS = Levels((4, 6), (2, 4))
small_shift = partial(TemporalShift, width=8, portion=4)
CAUSAL = {
    "shift": small_shift,
    "shift_both_levels": partial(small_shift, levels=(0, -1), layers=3),
    "memory": partial(MemoryBank, width=8, heads=2, size=2, every=1, grid=2),
    "memory_sparse": partial(MemoryBank, width=8, heads=2, size=2, every=3, grid=3, levels=(0, 1)),
}
WINDOWED = {
    "temporal_conv": (partial(TemporalConv, width=8), 2),
    "temporal_conv_wide": (partial(TemporalConv, width=8, kernel=5, layers=1), 2),
    "shift": (partial(small_shift, causal=False, layers=3), 3),
    "attention": (partial(TemporalAttention, width=8, heads=2, window=2, grid=2), 2),
}


def features(frames: int, batch: int = 2, dtype=torch.float32) -> list[Tensor]:
    """Of unit variance, as normalisation leaves them."""
    torch.manual_seed(1)
    return [
        torch.randn(batch, frames, 4, 8, 10, dtype=dtype),
        torch.randn(batch, frames, 6, 4, 5, dtype=dtype),
    ]


def made(part, dtype=torch.float32, inputs=LEVELS):
    torch.manual_seed(0)
    return part(inputs=inputs).to(dtype).eval()


def run(part, given: list[Tensor], state=None):
    with torch.no_grad():
        return part(given, part.initial_state(given) if state is None else state)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("frames", [1, 5, 8, 9])
@pytest.mark.parametrize("name", CAUSAL)
def test_streaming_equals_the_whole_clip(name: str, frames: int, dtype, tolerance: float) -> None:
    part = made(CAUSAL[name], dtype)
    assert part.context is None
    given = features(frames, dtype=dtype)
    whole, last = run(part, given)
    state, steps, shapes = part.initial_state(given), [], set()
    for t in range(frames):
        out, state = run(part, [level[:, t : t + 1] for level in given], state)
        steps.append(out)
        shapes.add(tuple((s.shape, s.dtype) for s in state))
    assert shapes == {tuple((s.shape, s.dtype) for s in part.initial_state(given))}  # constant
    for level, expected in enumerate(whole):
        streamed = torch.cat([out[level] for out in steps], dim=1)
        assert streamed.shape == given[level].shape
        assert (streamed - expected).abs().max() <= tolerance
    for ours, theirs in zip(state, last, strict=True):
        assert (ours - theirs).abs().max() <= tolerance


@pytest.mark.parametrize("name", CAUSAL)
def test_a_clip_in_pieces_is_the_clip(name: str) -> None:
    part, given = made(CAUSAL[name], torch.float64), features(9, dtype=torch.float64)
    whole, _ = run(part, given)
    pieces, state = [], None
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        out, state = run(part, [level[:, start:stop] for level in given], state)
        pieces.append(out)
    for streamed, expected in zip(zip(*pieces, strict=True), whole, strict=True):
        torch.testing.assert_close(torch.cat(streamed, dim=1), expected)


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_parts_remember_the_past_and_never_see_the_future(name: str) -> None:
    part, given = made(CAUSAL[name], torch.float64), features(6, dtype=torch.float64)
    changed = [level.clone() for level in given]
    for level in changed:
        level[:, 2] = torch.randn_like(level[:, 2])
    out, other = run(part, given)[0][-1], run(part, changed)[0][-1]
    difference = (out - other).abs().amax(dim=(0, 2, 3, 4))
    assert difference[:2].max() == 0
    assert difference[2] > 0
    assert difference[3] > 0 or name == "memory_sparse"  # which stores frames 0 and 3


@pytest.mark.parametrize("name", WINDOWED)
def test_windowed_parts_look_as_far_as_they_say(name: str) -> None:
    factory, far = WINDOWED[name]
    part = made(factory, torch.float64)
    assert part.context == (far, far)
    given = [level.requires_grad_() for level in features(9, dtype=torch.float64)]
    assert part.initial_state(given) == ()
    out, state = part(given, ())
    assert state == ()
    assert [level.shape for level in out] == [level.shape for level in given]
    assert out[0] is given[0]  # a level not worked on
    (out[1][:, 4] - given[1][:, 4]).square().sum().backward()
    reached = given[1].grad.abs().amax(dim=(0, 2, 3, 4)).nonzero().flatten().tolist()
    assert reached == list(range(4 - far, 5 + far))
    # On levels that are shortened, a step spans several frames; the widest of the levels decides.
    assert made(factory, inputs=Levels((4, 6), (2, 4), (1, 4))).context == (4 * far, 4 * far)
    assert made(partial(factory, levels=(0, 1)), inputs=Levels((4, 6), (2, 4), (1, 2))).context == (
        2 * far,
        2 * far,
    )


@pytest.mark.parametrize("frames", [1, 5, 8, 9])
@pytest.mark.parametrize("name", [*WINDOWED, *CAUSAL])
def test_every_parameter_learns_on_clips_of_any_length(name: str, frames: int) -> None:
    torch.manual_seed(0)
    part = (WINDOWED[name][0] if name in WINDOWED else CAUSAL[name])(inputs=LEVELS)
    given = features(frames)
    out, _ = part(given, part.initial_state(given))
    assert all(torch.isfinite(level).all() for level in out)
    sum(level.square().sum() for level in out).backward()
    # The softmax of a lone key is constant; a frame alone has no other to tell apart.
    for parameter, p in part.named_parameters():
        assert p.grad is not None, parameter
        assert frames == 1 or p.grad.abs().max() > 0 or "key.bias" in parameter, parameter


def test_a_factorised_convolution_is_one_in_3_d() -> None:
    cell = ConvCell(6, 8, kernel=3, layers=1).double().eval()
    x = torch.randn(1, 5, 6, 4, 5, dtype=torch.float64)
    kernel = cell.time[0].weight[:, :, :, None] * cell.space[0].weight[:, :, None]  # (8, 1, 3, 3, 3)
    clip = cell.reduce(x.flatten(0, 1)).unflatten(0, (1, 5)).transpose(1, 2)
    mixed = cell.mixes[0](F.conv3d(clip, kernel, padding=1, groups=8).transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(cell(x, ())[0], x + cell.expand(mixed).unflatten(0, (1, 5)))


def test_shift_moves_channels_between_frames() -> None:
    clip = torch.arange(12.0).view(1, 3, 4, 1, 1)  # frame t holds 4t … 4t + 3
    before = torch.tensor([-1.0]).view(1, 1, 1, 1)
    assert shift(clip, before, back=1).flatten().tolist() == [-1, 5, 2, 3, 0, 9, 6, 7, 4, 0, 10, 11]
    assert shift(clip, before, back=0).flatten().tolist() == [-1, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11]


def test_the_shift_itself_has_no_parameters() -> None:
    def parameters(causal: bool, moved: int) -> int:
        return sum(p.numel() for p in ShiftCell(6, 8, moved, 2, causal).parameters())

    assert len({parameters(True, 1), parameters(True, 4), parameters(False, 4)}) == 1


def written_out(attention, frame: Tensor, seen: list[Tensor]) -> Tensor:
    """Attention of one frame (1, C, h, w) to the regions of `seen` frames, head by head."""
    queries = attention.project(frame)[0][0]
    keys = torch.cat([attention.project(other)[1][0] for other in seen])
    values = torch.cat([attention.project(other)[2][0] for other in seen])
    heads = []
    for q, k, v in zip(*(x.chunk(attention.heads, dim=1) for x in (queries, keys, values)), strict=True):
        heads.append((q @ k.mT / q.shape[1] ** 0.5).softmax(dim=1) @ v)
    return frame + attention.out(torch.cat(heads, dim=1)).mT.reshape(frame.shape)


def test_attention_is_the_softmax_over_regions_of_near_frames() -> None:
    torch.manual_seed(0)
    cell = AttentionCell(6, 8, heads=2, window=1, grid=3).double()
    torch.nn.init.zeros_(cell.offset)
    x = torch.randn(1, 4, 6, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        out = cell(x, ())[0]
        for t in range(4):
            near = [x[:, s] for s in range(max(0, t - 1), min(4, t + 2))]
            torch.testing.assert_close(out[:, t], written_out(cell.attention, x[:, t], near))
        torch.nn.init.normal_(cell.offset)
        assert (cell(x, ())[0] - out).abs().max() > 1e-3  # how far away a frame is matters


@pytest.mark.parametrize(("size", "every"), [(2, 1), (2, 2), (8, 3)])
def test_memory_reads_the_frames_it_has_stored(size: int, every: int) -> None:
    torch.manual_seed(0)
    cell = MemoryCell(6, 8, heads=2, size=size, every=every, grid=3).double()
    x = torch.randn(1, 7, 6, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        out, state = cell(x, cell.initial_state(x))
        for t in range(7):
            bank = [x[:, s] for s in range(t) if s % every == 0][-size:]
            torch.testing.assert_close(out[:, t], written_out(cell.attention, x[:, t], [x[:, t], *bank]))
    assert state[0].shape == (1, size, 9, 8)
    assert state[2].tolist() == [7]


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = out if isinstance(out, (tuple, list)) else [out]
        self.numel = max([self.numel, *(x.numel() for x in tensors if isinstance(x, Tensor))])
        return out


def test_memory_of_attention_is_linear_in_frames() -> None:
    part = made(partial(TemporalAttention, width=8, heads=2, window=2, grid=2))
    largest = []
    for frames in (8, 16, 32):
        with torch.no_grad(), Largest() as mode:
            part(features(frames, batch=1), ())
        largest.append(mode.numel / frames)
    assert largest[0] == largest[1] == largest[2]


def test_keys_are_never_finer_than_the_map() -> None:
    part = made(partial(MemoryBank, width=8, heads=2, size=3, grid=7))
    assert part.initial_state(features(1))[0].shape == (2, 3, 4 * 5, 8)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_whole_model_streams(clip: Tensor, name: str) -> None:
    """On real frames. In float64: a random encoder blows rounding up."""
    torch.manual_seed(0)
    model = VideoSegmenter(TimmEncoder("lcnet_050"), CAUSAL[name], PixelDecoder).eval().double()
    assert model.context is None
    clip = clip.double()
    with torch.no_grad():
        whole, state, steps = model(clip)[0].logits, None, []
        for t in range(5):
            prediction, state = model(clip[:, t : t + 1], state=state)
            steps.append(prediction.logits)
    scale = whole.abs().max()
    assert scale > 0
    assert (torch.cat(steps, dim=1) - whole).abs().max() <= 1e-10 * scale


@pytest.mark.parametrize("frames", [1, 5, 8, 13, 18])
@pytest.mark.parametrize("name", [*WINDOWED, "memory"])
def test_every_frame_gets_one_mask(name: str, frames: int) -> None:
    factory = CAUSAL[name] if name == "memory" else WINDOWED[name][0]
    model = VideoSegmenter(PixelEncoder(), factory, PixelDecoder).eval()
    video = GeneratedSource(train=1, test=1, length=frames, height=32, width=48).sequences("test")[0]
    masks = list(predict(model, video, Inference(window=8, stride=5)))
    assert [i for i, _ in masks] == list(range(frames))
    assert {mask.shape for _, mask in masks} == {(32, 48)}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (partial(TemporalConv, levels=(2,)), r"levels must be from -2 to 1, since 2 come in, got \[2\]"),
        (partial(TemporalAttention, levels=()), r"levels must be .*got \[\]"),
        (partial(TemporalConv, kernel=4), "kernel must be odd.*got 4"),
        (partial(TemporalConv, layers=0), "layers must be at least 1, got 0"),
        (partial(TemporalShift, portion=256), "portion must be from 1 to width=128, got 256, which moves 0"),
        (partial(TemporalShift, portion=1, causal=False), "portion must be from 2 to width=128, got 1"),
        (partial(TemporalAttention, heads=5), "heads must divide width=128, got 5"),
        (partial(MemoryBank, size=0), "size must be at least 1, got 0"),
        (partial(MemoryBank, heads=3), "heads must divide"),
    ],
)
def test_what_cannot_be_is_refused(part, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        part(inputs=LEVELS)
    assert "\n" not in str(refusal.value)
