import albumentations as A
import cv2
import numpy as np
import pytest

from davis_exp.data import flow_geometry
from davis_exp.data.augment import ClipAugmentation
from davis_exp.data.sources import DavisSource
from davis_exp.utils.errors import BadInput


def field(u, v, size=(30, 40), frames=2):
    """A clip of fields of one vector."""
    return np.broadcast_to(np.float32([u, v])[:, None, None], (frames, 2, *size)).copy()


def test_a_resized_field_grows_with_its_grid():
    grown = flow_geometry.resample(field(2, -3), (60, 160))
    assert np.array_equal(grown, field(8, -6, (60, 160)))
    assert np.array_equal(flow_geometry.resample(grown, (30, 40)), field(2, -3))


def test_a_ramp_stays_where_it_was():
    """At the middle of each pixel, a field that grows with its place has that place's value, at any size."""
    x = (np.arange(40) + 0.5) / 40
    ramp = np.stack([np.tile(x, (30, 1)), np.zeros((30, 40))]).astype(np.float32)
    wide = flow_geometry.resample(ramp, (30, 80))[0, 0] / 2  # back in old pixels
    assert np.allclose(wide[2:-2], (np.arange(2, 78) + 0.5) / 80, atol=1e-3)
    right = flow_geometry.resample(ramp, (30, 40), (0.5, 0.0, 1.0, 1.0))[0, 0] / 2
    assert np.allclose(right[:-1], 0.5 + (np.arange(39) + 0.5) / 80, atol=1e-3)


def test_a_flip_turns_the_field_and_its_x():
    vectors = np.random.default_rng(0).standard_normal((3, 2, 5, 7)).astype(np.float32)
    flipped = flow_geometry.flip(vectors)
    assert np.array_equal(flipped[:, 0], -vectors[:, 0, :, ::-1])
    assert np.array_equal(flipped[:, 1], vectors[:, 1, :, ::-1])
    assert np.array_equal(flow_geometry.flip(flipped), vectors)


def test_a_quarter_turn_turns_the_vectors():
    # About the middle of a square, x to y and y to −x, as cv2.warpAffine moves pictures.
    vectors = np.zeros((1, 2, 5, 5), np.float32)
    vectors[0, :, 1, 3] = 2, 1
    turned = flow_geometry.transform(vectors, np.array([[0.0, -1, 4], [1, 0, 0], [0, 0, 1]]))
    assert np.allclose(turned[0, :, 3, 3], (-1, 2))
    assert np.count_nonzero(turned) == 2


def test_pictures_are_bytes_of_the_painted_field():
    assert np.array_equal(flow_geometry.picture(field(0, 0)), np.full((2, 3, 30, 40), 255, np.uint8))
    red = flow_geometry.picture(field(3, 0))
    assert red.dtype == np.uint8
    assert (red == np.array([255, 0, 0])[:, None, None]).all()


# ---- with the clip ----------------------------------------------------------------------------------


def test_without_vectors_there_are_none():
    frames = np.zeros((2, 30, 40, 3), np.uint8)
    assert ClipAugmentation((15, 20))(frames, frames[..., 0], np.random.default_rng(0))[2] is None


def test_resizing_scales_and_flipping_negates_exactly():
    frames = np.zeros((2, 60, 80, 3), np.uint8)
    for flip, sign in ((0.0, 1), (1.0, -1)):
        augmentation = ClipAugmentation((120, 40), flip=flip)
        _, _, vectors = augmentation(frames, frames[..., 0], np.random.default_rng(0), field(4, 1))
        assert np.array_equal(vectors, field(sign * 4, 4, (120, 40)))


def test_a_crop_of_a_quarter_doubles_exactly():
    frames = np.zeros((2, 60, 80, 3), np.uint8)
    augmentation = ClipAugmentation((60, 80), scale=(0.25, 0.25))
    _, _, vectors = augmentation(frames, frames[..., 0], np.random.default_rng(0), field(4, 1, (60, 80)))
    assert np.array_equal(vectors, field(8, 2, (60, 80)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "transform",
    [
        A.Rotate((-20, 20), border_mode=cv2.BORDER_REFLECT_101, p=1.0),
        A.OneOf([A.Affine(scale=(0.8, 1.2), shear=(-10, 10), p=1.0), A.HorizontalFlip(p=1.0)], p=1.0),
        A.CoarseDropout(hole_height_range=(2, 4), hole_width_range=(2, 4), p=1.0),
        A.SafeRotate((-20, 20), p=1.0),
        A.SomeOf([A.Rotate((-20, 20), p=1.0), A.HorizontalFlip(p=1.0), A.ToGray(p=1.0)], n=2),
        A.RandomOrder([A.Rotate((-20, 20), p=1.0), A.HorizontalFlip(p=1.0)], n=2),
        A.Sequential([A.Compose([A.HorizontalFlip(p=0.5)]), A.Rotate((-20, 20), p=0.5)], p=1.0),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_vectors_still_lead_from_frame_to_frame(davis_root, seed, transform):
    """A real frame and its copy moved by (12, -8), through the same draw: following the vectors finds it."""
    frame = DavisSource(davis_root).sequences("train")[0].frame(0)
    shift = np.array([12, -8])
    one = frame[40:280, 40:440]
    two = frame[40 - shift[1] : 280 - shift[1], 40 - shift[0] : 440 - shift[0]]
    augmentation = ClipAugmentation(
        (144, 240), flip=0.5, scale=(0.4, 0.9), ratio=(0.8, 1.25), transforms={"moved": transform}
    )
    halves = field(*(shift / 2), size=(120, 200))
    (first, second), _, vectors = augmentation(
        np.stack([one, two]), np.zeros((2, 240, 400), np.uint8), np.random.default_rng(seed), halves
    )
    y, x = np.mgrid[:144, :240].astype(np.float32)
    found = cv2.remap(second, x + vectors[0, 0], y + vectors[0, 1], cv2.INTER_LINEAR)
    inside = np.s_[50:-50, 80:-80]  # no reflections
    error = np.abs(found[inside].astype(int) - first[inside]).mean()
    unmoved = np.abs(second[inside].astype(int) - first[inside]).mean()
    assert error < 0.3 * unmoved


def test_flow_that_cannot_follow_is_refused():
    frames = np.zeros((2, 30, 40, 3), np.uint8)
    augmentation = ClipAugmentation(
        (30, 40), transforms={"bend": A.OneOf([A.ElasticTransform(), A.NoOp()], p=0.0), "grey": A.ToGray()}
    )
    augmentation(frames, frames[..., 0], np.random.default_rng(0))
    with pytest.raises(BadInput, match=r"augmentation\.transforms\.bend: flow cannot follow"):
        augmentation(frames, frames[..., 0], np.random.default_rng(0), field(4, 1, (30, 40)))


@pytest.mark.parametrize("wrapped", [lambda step: step, lambda step: A.Compose([step, A.NoOp()])])
def test_flow_is_refused_where_we_are_not_told_what_was_applied(wrapped):
    frames = np.zeros((2, 30, 40, 3), np.uint8)
    mirrored = A.OneOrOther(A.OneOf([A.HorizontalFlip(p=1.0)], p=1.0), A.NoOp(), p=1.0)
    augmentation = ClipAugmentation((30, 40), transforms={"either": wrapped(mirrored)})
    augmentation(frames, frames[..., 0], np.random.default_rng(0))
    with pytest.raises(BadInput, match=r"augmentation\.transforms\.either: flow cannot follow"):
        augmentation(frames, frames[..., 0], np.random.default_rng(0), field(4, 1))
    harmless = A.OneOrOther(A.ToGray(p=1.0), A.InvertImg(p=1.0))  # no pixel moves: nothing need be told
    augmentation = ClipAugmentation((30, 40), transforms={"either": wrapped(harmless)})
    _, _, vectors = augmentation(frames, frames[..., 0], np.random.default_rng(0), field(4, 1))
    assert np.array_equal(vectors, field(4, 1))
