"""Every option of the groups `data` and `augmentation` composes and does its work."""

import numpy as np
import pytest
from PIL import Image

from davis_exp.config import conf_dir
from davis_exp.data.augment import ClipAugmentation
from davis_exp.data.export import write_contest, write_davis
from davis_exp.data.sources.generated import GeneratedSource
from davis_exp.experiment import build
from davis_exp.utils.errors import BadInput

COUNTS = {
    "images": (3, 1, 1),
    "mix": (3 + 4, 1, 2),
    "zoo": (3 + 4, 1, 2),
    "zoo_people": (3 + 4 + 4, 1, 2),
    "zoo_crowd": (3 + 4 + 4, 1, 2),
    "crowd": (3, 1, 1),
    "davis2017": (1, 1, 1),
    "davis2017_each": (2, 2, 2),  # two objects in each
    "youtube_vos": (1, 1, 1),
    "youtube_vos_each": (2, 2, 2),
    "fbms": (1, 1, 1),
    "segtrack_v2": (2, 1, 1),
    "youtube_objects": (2, 1, 1),
    "pairs": (3, 1, 1),
    "folders": (1, 1, 1),
}  # to train on, held out, to test on
LOADING = ("data.workers=0", "data.size=[32,64]", "data.batch_size=3", "data.clip_length=5")


def options(group):
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml") if not path.stem.startswith("_"))


@pytest.fixture(scope="session")
def roots(tmp_path_factory, layouts):
    """`data` overrides that give each option a small data set of its layout; the key is the option's name."""
    folder = tmp_path_factory.mktemp("data")
    source = GeneratedSource(train=4, test=2, length=5, height=32, width=48)
    train, test = source.sequences("train"), source.sequences("test")
    davis = write_davis({"train": train, "val": test}, folder / "davis")
    for sequence in train:
        for name, picture in (("images", sequence.frame(0)), ("masks", sequence.mask(0) * 255)):
            (folder / "stills" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / "stills" / name / f"{sequence.name}.png")
    mixed = [f"data.parts.davis.source.root={davis}", f"data.parts.images.source.root={folder / 'stills'}"]
    return {
        **{
            name: [f"data.root={root}", "data.holdout=1", "data.clips_per_epoch=3"]
            for name, root in layouts.items()
        },
        "davis": [f"data.root={davis}"],
        "contest": [
            f"data.root={write_contest(train, folder / 'train')}",
            f"data.test_root={write_contest(test, folder / 'test')}",
        ],
        "images": [f"data.root={folder / 'stills'}", "data.holdout=1"],
        "mix": mixed,
        "zoo": [*mixed, "data.holdout=1"],
        "zoo_people": [*mixed, "data.holdout=1", f"data.parts.people.source.root={folder / 'stills'}"],
        "zoo_crowd": [
            *mixed,
            "data.holdout=1",
            f"data.parts.crowd.source.root={folder / 'stills'}",
            f"data.parts.crowd.source.scenes={folder / 'stills'}",
            "+data.parts.crowd.source.clips=4",
        ],
        "crowd": [
            f"data.root={folder / 'stills'}",
            *("data.clips=4", "data.length=5", "data.height=32", "data.width=48", "data.holdout=1"),
        ],
        "generated": ["data.train=4", "data.test=2", "data.length=5", "data.height=32", "data.width=48"],
    }


@pytest.mark.parametrize("name", options("data"))
def test_data(compose, roots, name):
    cfg = compose(f"data={name}", *roots[name], *LOADING)
    data = build.build_data(cfg)
    assert (data.loading.size, data.loading.batch_size, data.loading.workers) == ((32, 64), 3, 0)
    data.setup(None)
    counts = tuple(map(len, (data.train_sequences, data.val_sequences, data.test_sequences)))
    assert counts == COUNTS.get(name, (3, 1, 2))
    batch = next(iter(data.train_dataloader()))
    assert batch["frames"].shape == (3, 5, 3, 32, 64)
    assert 0.01 < batch["masks"].float().mean() < 0.5
    assert next(iter(data.test_dataloader())).frame(0).shape == (32, 48, 3)


@pytest.mark.parametrize("name", [n for n in options("data") if n != "generated"])
def test_data_that_is_not_there_is_refused_with_what_to_do(compose, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = build.build_data(compose(f"data={name}"))
    with pytest.raises(BadInput, match=r"set data\.root"):
        data.setup("fit")


@pytest.mark.parametrize("name", options("augmentation"))
def test_augmentation(compose, name):
    made = build.make(compose(f"augmentation={name}").augmentation, "augmentation")(size=(24, 40))
    assert isinstance(made, ClipAugmentation)
    frames = np.random.default_rng(0).integers(0, 256, (2, 36, 64, 3), dtype=np.uint8)
    results = [made(frames, frames[..., 0] // 128, np.random.default_rng(seed)) for seed in range(4)]
    assert {r[0].shape for r in results} == {(2, 24, 40, 3)}
    assert {r[1].shape for r in results} == {(2, 24, 40)}
    assert len({r[0].tobytes() for r in results}) == (1 if name == "none" else 4)


def test_real_davis_with_its_root_alone(compose, davis_root):
    data = build.build_data(compose("data=davis", f"data.root={davis_root}"))
    data.setup(None)
    assert [len(part) for part in (data.train_sequences, data.val_sequences, data.test_sequences)] == [
        24,
        6,
        6,
    ]
