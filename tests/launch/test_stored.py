"""What a run's folder stores is data: it says nothing of where runs are kept and what is imported."""

import pytest
import yaml

from davis_exp.launch import runs
from davis_exp.utils.errors import BadInput


@pytest.fixture
def stored(tmp_path):
    """stored(overrides, sources=…): a run's folder that was started so."""

    def write(overrides, sources=()):
        folder = tmp_path / "run"
        (folder / ".hydra").mkdir(parents=True, exist_ok=True)
        (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides))
        hydra = {"hydra": {"runtime": {"config_sources": list(sources)}}}
        (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump(hydra))
        return folder

    return write


def test_overrides_of_the_experiment_are_kept(stored):
    fog = "+augmentation.transforms.fog={_target_: albumentations.RandomFog, p: 0.1}"
    plain = [
        "encoder=resnet18",
        "~flow",
        "data.root='a b,c'",
        "+callbacks.x._target_=davis_exp.training.callbacks.ema.Ema",
    ]
    assert runs.stored_overrides(stored(plain)) == plain
    with pytest.raises(BadInput, match=r"add 'allow=\[albumentations\.RandomFog\]'"):
        runs.stored_overrides(stored([fog]))
    assert runs.stored_overrides(stored([fog]), ["allow=[albumentations.RandomFog]"]) == [fog]


def test_hydra_is_not_theirs_to_set(stored):
    reaching = [
        "hydra.run.dir=/etc",
        "+hydra.callbacks.x._target_=a.B",
        "hydra/launcher=ray",
        "+x@hydra.callbacks=y",
    ]
    assert runs.stored_overrides(stored([*reaching, "seed=3"])) == ["seed=3"]


@pytest.mark.parametrize(
    "override", ["+callbacks.x._target_=evil.Thing", "+a={_target_: 'os.system'}", "name=${oc.env:X}"]
)
def test_nothing_else_is_made_or_resolved(stored, override):
    with pytest.raises(BadInput, match="which a folder is not believed"):
        runs.stored_overrides(stored([override]))


def test_folders_of_options_are_the_users_to_give_again(stored):
    source = {"provider": "command-line", "schema": "file", "path": "/tmp/evil"}
    folder = stored(["seed=3"], [source])
    with pytest.raises(BadInput, match=r"'hydra\.searchpath=\[file:///tmp/evil\]'"):
        runs.stored_overrides(folder)
    assert runs.stored_overrides(folder, ["hydra.searchpath=[file:///tmp/evil]"]) == ["seed=3"]
