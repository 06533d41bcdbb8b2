import math

import cv2
import numpy as np
import pytest
from PIL import Image

from davis_exp.data.cache import identity
from davis_exp.data.sources.images import ImageSource, Motion
from davis_exp.utils.errors import BadInput


@pytest.fixture
def folder(tmp_path):
    """Three images of a bright square on dark ground, and their masks."""
    for number in range(3):
        frame = np.full((60, 80, 3), 30 + number, np.uint8)
        frame[20:40, 25:55] = 220
        for name, picture in (("images", frame), ("masks", (frame[..., 0] > 128) * np.uint8(255))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / name / f"{number:02d}.png")
    return tmp_path


def test_an_image_becomes_a_clip(folder):
    sequences = ImageSource(folder, length=5).sequences("train")
    assert [s.name for s in sequences] == ["00", "01", "02"]
    assert [s.index for s in sequences] == [tuple(range(5 * n, 5 * n + 5)) for n in range(3)]
    assert sequences[1].frame_ids[4] == "01/00004"
    assert all(s.still and s.labelled and s.size == (60, 80) for s in sequences)
    assert len({s.key for s in sequences}) == 3
    first = sequences[0]
    assert np.array_equal(first.frame(0), np.asarray(Image.open(folder / "images/00.png")))
    assert np.array_equal(first.mask(0), first.frame(0)[..., 0] > 128)
    assert len({first.frame(i).tobytes() for i in range(5)}) == 5


def test_masks_follow_their_frames(folder):
    for sequence in ImageSource(folder, scale=(0.8, 1.2)).sequences("train"):
        for i in range(len(sequence)):
            frame, mask = sequence.frame(i), sequence.mask(i)
            assert frame.shape == (60, 80, 3)
            assert mask.shape == (60, 80)
            assert frame.dtype == mask.dtype == np.uint8
            assert np.mean((frame[..., 0] > 128) == mask) > 0.97


def test_motion_is_a_function_of_the_seed(folder):
    def frames(sequence):
        return [sequence.frame(i).tobytes() for i in range(len(sequence))]

    one, two = (ImageSource(folder).sequences("train") for _ in range(2))
    backwards = [frames(sequence) for sequence in reversed(two)]
    assert [frames(sequence) for sequence in one] == backwards[::-1]
    assert frames(one[0])[1:] != frames(ImageSource(folder, seed=1).sequences("train")[0])[1:]
    varied = one[0].variant((3, 4))
    assert varied.frame(0).tobytes() == one[0].frame(0).tobytes()
    assert frames(varied)[1:] != frames(one[0])[1:]
    assert frames(varied) == frames(two[0].variant((3, 4))) != frames(two[0].variant((3, 5)))


def test_what_is_kept_of_one_motion_is_not_taken_for_another(folder):
    sequence, other = (ImageSource(folder, seed=seed).sequences("train")[0] for seed in (0, 1))
    assert identity(sequence, 0) == identity(other, 0) == identity(sequence.variant((1,)), 0)
    assert identity(sequence, 1) == identity(ImageSource(folder).sequences("train")[0], 1)
    assert len({identity(s, 1) for s in (sequence, other, sequence.variant((1,)))}) == 3


def test_steps_stay_within_their_limits():
    motion = Motion(scale=(0.7, 1.3), shift=0.1, rotate=15, shear=0.05)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(500):
        step = motion.draw(rng, (60, 80))
        a, b = step[:2, 0], step[:2, 1]  # what becomes of a pixel to the right, and of one down
        moved = step @ (39.5, 29.5, 1)  # the middle
        found.append(
            (
                np.linalg.norm(a),  # scale of x
                math.degrees(math.atan2(a[1], a[0])),
                (moved[0] - 39.5) / 80,
                (moved[1] - 29.5) / 60,
                np.linalg.det(step) / np.linalg.norm(a),  # scale of y
                (a @ b) / np.linalg.norm(a) / (np.linalg.det(step) / np.linalg.norm(a)),  # slope
            )
        )
    limits = [(0.7, 1.3), (-15, 15), (-0.1, 0.1), (-0.1, 0.1), (0.7, 1.3), (-0.05, 0.05)]
    for values, (low, high) in zip(np.array(found).T, limits, strict=True):
        margin = 0.02 * (high - low)
        assert low - 1e-6 <= values.min() < low + margin
        assert high - margin < values.max() <= high + 1e-6


def test_frames_are_chained(folder):
    """The step from frame 3 to frame 4 is a step like any other: it takes one picture to the next."""
    sequence = ImageSource(folder, scale=(1, 1), shift=0.05, rotate=5, shear=0).sequences("train")[0]
    step = sequence.places[4] @ np.linalg.inv(sequence.places[3])
    assert abs(math.degrees(math.atan2(step[1, 0], step[0, 0]))) <= 5
    moved = cv2.warpAffine(sequence.frame(3), step[:2], (80, 60), borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(moved.astype(int) - sequence.frame(4)).mean() < 2


def test_missing_and_unequal_files_are_named(folder, tmp_path):
    with pytest.raises(BadInput, match=r"no images in .*set data\.root"):
        ImageSource(tmp_path / "nowhere").sequences("train")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(folder / "masks/01.png")
    with pytest.raises(BadInput, match=r"01\.png is 10x10 but .* is 60x80"):
        ImageSource(folder).sequences("train")[1].frame(0)
    (folder / "masks/02.png").unlink()
    with pytest.raises(BadInput, match=r"02\.png has no mask .*1 of 3"):
        ImageSource(folder).sequences("train")
    with pytest.raises(BadInput, match="stages"):
        ImageSource(folder).sequences("val")


@pytest.mark.parametrize(
    ("key", "value"), [("length", 0), ("scale", [1.3, 0.7]), ("shift", 2), ("rotate", -1), ("shear", 1.5)]
)
def test_impossible_values_name_their_key(key, value):
    with pytest.raises(BadInput, match=rf"^data\.{key} "):
        ImageSource("x", **{key: value})


def test_real_stills(shared):
    if not (shared / "ecssd").is_dir():
        pytest.skip(f"no ECSSD at {shared / 'ecssd'}")
    sequences = ImageSource(shared / "ecssd").sequences("train")
    assert len(sequences) == 1000
    share = [sequences[n].mask(i).mean() for n in (0, 400, 999) for i in range(8)]
    assert 0 < np.mean(share) < 0.9
    assert len({sequences[7].frame(i).tobytes() for i in range(8)}) == 8
