import numpy as np
import pytest

from davis_exp.data.augment import ClipAugmentation
from davis_exp.data.datamodule import ClipDataModule
from davis_exp.data.loading import Loading
from davis_exp.data.sequences import Source
from davis_exp.data.sources.mix import MixSource
from davis_exp.utils.errors import BadInput


class Given(Source):
    def __init__(self, train, test=()):
        self.stages = {"train": list(train), "test": list(test)}

    def sequences(self, stage):
        if not self.stages[stage]:
            raise BadInput(f"no stage {stage}")
        return self.stages[stage]


@pytest.fixture
def videos(array_sequence):
    return Given(
        [array_sequence(f"v{i}", 10, first=10 * i, tint=1) for i in range(5)], [array_sequence("test", 4)]
    )


@pytest.fixture
def stills(array_sequence):
    class Still(array_sequence):
        still = True

    return Given([Still(f"s{i}", 3, first=3 * i, tint=2) for i in range(40)])


def module(source, **loading):
    return ClipDataModule(
        source,
        ClipAugmentation,  # which changes nothing
        Loading(**({"size": (20, 30), "workers": 0, "clip_length": 2, "batch_size": 1} | loading)),
        seed=3,
    )


def test_trains_on_all_tests_on_the_first_and_counts_on(videos, stills):
    mix = MixSource({"a": {"source": videos}, "b": {"source": stills}})
    train = mix.sequences("train")
    assert [s.name for s in train] == [s.name for s in videos.stages["train"] + stills.stages["train"]]
    assert [i for s in train for i in s.index] == list(range(5 * 10 + 40 * 3))
    assert mix.sequences("test") == videos.stages["test"]
    assert stills.stages["train"][0].index == (0, 1, 2), "the part's own are left alone"


@pytest.mark.parametrize(("weights", "share"), [((1, 1), 0.5), ((3, 1), 0.75), ((0.1, 0.9), 0.1)])
def test_clips_are_drawn_by_weight_after_the_holdout(videos, stills, weights, share):
    parts = {
        "a": {"source": videos, "weight": weights[0]},
        "b": {"source": stills, "weight": weights[1], "validate": False},
    }
    data = module(MixSource(parts), holdout=2, clips_per_epoch=80)
    data.setup(None)
    assert len(data.train_sequences) == 3 + 40
    loader = data.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        tints = [int(batch["frames"][0, 0, 1, 0, 0]) for batch in loader]
        assert tints.count(1) == pytest.approx(80 * share)


def test_only_marked_parts_are_held_out_of(videos, stills, array_sequence):
    more = Given([array_sequence(f"w{i}", 10, tint=3) for i in range(5)])
    parts = {"a": {"source": videos}, "b": {"source": more}, "c": {"source": stills}}
    for seed in range(5):
        data = module(MixSource(parts), holdout=3, holdout_seed=seed)
        data.setup(None)
        assert {s.name[0] for s in data.val_sequences} == {"v"}
        assert [s.name for s in data.test_sequences] == ["test"]
    parts["b"] = {"source": more, "validate": True}
    names = set()
    for seed in range(5):
        data = module(MixSource(parts), holdout=3, holdout_seed=seed)
        data.setup("fit")
        names |= {s.name[0] for s in data.val_sequences}
    assert names == {"v", "w"}


def test_a_clip_held_out_is_trained_on_in_no_part(videos, array_sequence):
    again = Given([array_sequence(f"v{i}", 10, tint=4) for i in range(5)])  # equal keys
    data = module(MixSource({"a": {"source": videos}, "b": {"source": again}}), holdout=2)
    data.setup("fit")
    assert len(data.train_sequences) == 6
    assert not {s.key for s in data.train_sequences} & {s.key for s in data.val_sequences}


def test_a_part_held_out_entirely_is_no_trouble(videos, array_sequence):
    small = Given([array_sequence("w", 10, tint=3)])
    parts = {"a": {"source": small}, "b": {"source": videos, "validate": True}}
    for seed in range(20):
        data = module(MixSource(parts), holdout=2, holdout_seed=seed, clips_per_epoch=4)
        data.setup("fit")
        assert np.isfinite([batch["frames"].sum() for batch in data.train_dataloader()]).all()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"weight": 0}, r"data\.parts\.b\.weight must be above 0, got 0"),
        ({"weight": True}, r"data\.parts\.b\.weight"),
        ({"validate": "yes"}, r"data\.parts\.b\.validate must be true or false"),
        ({"wieght": 1}, r"data\.parts\.b: .*no wieght"),
        ({"source": None}, r"data\.parts\.b: a part has a `source`"),
    ],
)
def test_parts_that_cannot_be_are_named(videos, stills, part, message):
    with pytest.raises(BadInput, match=message):
        MixSource({"a": {"source": videos}, "b": {"source": stills} | part})


def test_what_cannot_be_mixed_is_refused(videos, stills):
    with pytest.raises(BadInput, match=r"data\.parts: empty"):
        MixSource({})
    with pytest.raises(BadInput, match=r"data\.parts: no part may be held out"):
        MixSource({"a": {"source": videos, "validate": False}})
    with pytest.raises(BadInput, match=r"data\.parts\.b\.validate: still images"):
        MixSource({"a": {"source": videos}, "b": {"source": stills, "validate": True}}).parts()
    with pytest.raises(BadInput, match=r"data\.parts\.a: no stage train"):
        MixSource({"a": {"source": Given([])}, "b": {"source": videos}}).sequences("train")
