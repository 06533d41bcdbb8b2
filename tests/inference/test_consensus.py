"""Pixels drawn towards those most like them in the frames around: against a plain reference, and what it is for."""

import numpy as np
import pytest
import torch
from torch import nn

from davis_exp.data.sources.arrays import ArraySequence
from davis_exp.inference import Inference, consensus, predict
from davis_exp.inference.views import Answer
from davis_exp.models.segmenter import Features, Prediction
from davis_exp.utils.errors import BadInput

STRIDE = 8


def answers(count, size=(32, 48), channels=5, seed=0):
    """Random probabilities, and features of the cells that cover them."""
    random = np.random.default_rng(seed)
    grid = [-(-side // STRIDE) for side in size]
    return [
        Answer(
            torch.from_numpy(random.random(size, np.float32)),
            torch.from_numpy(random.standard_normal((channels, *grid)).astype(np.float32)),
            STRIDE,
        )
        for _ in range(count)
    ]


def reference(given, t, weight):
    """Frame t's map as it should be, cell by cell; sides that are multiples of the stride."""
    others = [i for i in range(len(given)) if i != t and abs(i - t) <= 36 and (i - t) % 9 == 0]
    if not others:
        return given[t].probability.numpy()
    values = np.stack([given[i].features.numpy() for i in [t, *others]])  # (n, C, rows, columns)
    mean, deviation = values.mean((0, 2, 3)), values.std((0, 2, 3), ddof=1)
    unit = (values - mean[:, None, None]) / deviation[:, None, None]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)

    def cells(i):
        rows, columns = values.shape[2:]
        return (
            given[i].probability.numpy().reshape(rows, STRIDE, columns, STRIDE).mean((1, 3), dtype=np.float64)
        )

    change = np.zeros(values.shape[2:])
    for place in np.ndindex(*change.shape):
        alike, said = [], []
        for k, i in enumerate(others, 1):
            cosines = np.einsum("c,chw->hw", unit[(0, slice(None), *place)], unit[k])
            alike.append(cosines.max())
            said.append(cells(i)[np.unravel_index(cosines.argmax(), cosines.shape)])
        counts = np.exp((np.array(alike) - max(alike)) / 0.05)
        change[place] = (counts * said).sum() / counts.sum() - cells(t)[place]
    wide = nn.functional.interpolate(
        torch.from_numpy(change)[None, None], scale_factor=STRIDE, mode="bilinear"
    )
    return np.clip(given[t].probability.numpy() + weight * wide[0, 0].numpy(), 0, 1)


@pytest.mark.parametrize("count", [2, 12, 90])
def test_it_is_what_a_plain_loop_computes(count):
    given = answers(count)
    found = list(consensus.agreed(iter(given), 0.6))
    assert len(found) == count
    for t in {0, 1, count // 2, count - 1}:
        np.testing.assert_allclose(found[t], reference(given, t, 0.6), atol=2e-5)


def test_sides_that_are_no_multiples_of_the_stride_are_covered_to_their_end():
    large = answers(12, (32, 48))
    for one in large:  # the last row and column repeat: what is cut off is what is put back
        one.probability[-STRIDE:] = one.probability[-STRIDE]
        one.probability[:, -STRIDE:] = one.probability[:, -STRIDE, None]
    cut = [one._replace(probability=one.probability[:27, :43]) for one in large]
    for whole, part in zip(consensus.agreed(large, 1.0), consensus.agreed(cut, 1.0), strict=True):
        assert part.shape == (27, 43)
        np.testing.assert_allclose(part, whole[:27, :43], atol=1e-5)


def test_fine_grids_are_pooled(monkeypatch):
    given = answers(12, (64, 96))
    coarse = [
        one._replace(features=nn.functional.avg_pool2d(one.features, 2), stride=2 * STRIDE) for one in given
    ]
    wanted = list(consensus.agreed(coarse, 0.5))
    monkeypatch.setattr(consensus, "CELLS", 8 * 12 // 4)
    np.testing.assert_allclose(list(consensus.agreed(given, 0.5)), wanted, atol=1e-6)


def test_frames_come_out_as_soon_as_those_around_are_known_and_no_more_are_held():
    asked = 0

    def stream():
        nonlocal asked
        for one in answers(100):
            asked += 1
            yield one

    for i, _ in enumerate(consensus.agreed(stream(), 0.5)):
        assert asked == min(100, i + 1 + consensus.SPAN)


def test_frames_of_other_sizes_are_not_asked():
    small, large = answers(14), answers(14, (40, 56))
    for one in large:
        one.features.mul_(1000)
    mixed = [large[i] if i == 9 else small[i] for i in range(14)]
    found = list(consensus.agreed(mixed, 0.5))
    without = list(consensus.agreed(small, 0.5))
    np.testing.assert_array_equal(found[1], without[1])
    np.testing.assert_array_equal(found[9], large[9].probability.numpy())


def test_what_came_before_a_film_breaks_off_comes_out():
    def stream():
        yield from answers(20)
        raise BadInput("the film breaks off")

    found = []
    with pytest.raises(BadInput, match="breaks off"):
        found.extend(consensus.agreed(stream(), 0.5))
    np.testing.assert_array_equal(found, list(consensus.agreed(answers(20), 0.5)))


def test_features_that_are_not_finite_are_refused():
    given = answers(3)
    given[1].features[0, 0, 0] = torch.inf
    with pytest.raises(BadInput, match="no finite numbers"):
        list(consensus.agreed(given, 0.5))


class Colours(nn.Module):
    """Finds what is red, but for frames in `misses`; its features are the frames' colours."""

    needs_motion = False

    def __init__(self, misses=(), context=(0, 0), features=True):
        super().__init__()
        self.misses, self.context, self.features, self.seen = misses, context, features, 0

    def forward(self, frames, motion=None, state=None):
        logits = 12 * (frames[:, :, :1] - frames[:, :, 1:2] - 0.4)
        for i in range(frames.shape[1]):
            if self.seen + i in self.misses:
                logits[:, i] = -4.0
        self.seen += frames.shape[1]
        pooled = nn.functional.avg_pool2d(frames.flatten(0, 1), STRIDE, ceil_mode=True)
        features = Features(pooled.unflatten(0, frames.shape[:2]), STRIDE) if self.features else None
        return Prediction(logits, features=features), ()


def film(count=24):
    """A red square that moves over green, as 64 × 96 frames, and where it is."""
    frames, places = [], []
    for i in range(count):
        frame = np.full((64, 96, 3), (30, 160, 40), np.uint8)
        frame[::2, ::3] += 20
        places.append(np.s_[16:48, 2 * i : 2 * i + 32])
        frame[places[-1]] = (220, 30, 30)
        frames.append(frame)
    return frames, places


@pytest.mark.parametrize("context", [None, (0, 0)])
def test_an_object_that_one_frame_missed_is_found_by_what_looks_like_it(context):
    frames, places = film()
    plain, after = (
        [
            mask
            for _, mask in predict(Colours([5], context), ArraySequence(frames), Inference(consensus=weight))
        ]
        for weight in (0.0, 0.75)
    )
    inner = np.s_[
        places[5][0].start + 8 : places[5][0].stop - 8, places[5][1].start + 8 : places[5][1].stop - 8
    ]
    assert plain[5].max() < 10
    assert after[5][inner].min() > 127
    assert after[5][:8].max() < 40
    for i in (0, 4, 23):
        assert ((after[i] > 127) == (plain[i] > 127)).mean() > 0.95


def test_it_goes_with_mirrored_answers_scales_windows_and_what_is_done_over_time():
    frames, places = film(16)
    how = Inference(
        size=(48, 80),
        window=3,
        stride=2,
        flip=True,
        scales=(1.5, 1.0),
        consensus=0.5,
        carry=0.5,
        track="mass",
    )
    masks = [mask for _, mask in predict(Colours(context=(1, 1)), ArraySequence(frames), how)]
    assert [mask.shape for mask in masks] == [(64, 96)] * 16
    for mask, place in zip(masks, places, strict=True):
        assert (mask[place] > 127).mean() > 0.9
        assert (mask > 127).mean() < 0.25


def test_a_model_without_features_is_refused():
    with pytest.raises(BadInput, match=r"inference\.consensus: this model gives no features"):
        next(predict(Colours(features=False), ArraySequence(film(2)[0]), Inference(consensus=0.5)))


@pytest.mark.parametrize("weight", [-0.1, 1.5])
def test_weights_that_make_no_sense_are_refused(weight):
    with pytest.raises(BadInput, match=r"inference\.consensus: must lie in 0"):
        Inference(consensus=weight)
