"""Every option of sweep/, and every engine: composed as the command line would, each value of a space as well."""

from importlib.util import find_spec

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep

from davis_exp.config import conf_dir

CONF = conf_dir()
SWEEPS = sorted(path.stem for path in (CONF / "sweep").glob("[!_]*.yaml"))
ENGINES = {"parallel": "joblib", "ray_local": "ray", "slurm": "submitit"}


@pytest.fixture
def hydra_of(compose):
    """The `hydra` node that overrides of `train` compose to."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    def composed(*overrides: str):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra_compose("train", overrides=list(overrides), return_hydra_config=True).hydra

    return composed


def needs(plugin: str) -> None:
    if find_spec("hydra_plugins") is None or find_spec(f"hydra_plugins.hydra_{plugin}") is None:
        pytest.skip(f"the plugin hydra_{plugin} is not installed")


@pytest.mark.parametrize("name", SWEEPS)
def test_every_value_of_a_space_composes(compose, hydra_of, name: str) -> None:
    sweeper = hydra_of(f"sweep={name}").sweeper
    plain = compose()
    space = OverridesParser.create().parse_overrides(
        [f"{key}={value}" for key, value in sweeper.params.items()]
    )
    assert space
    for override in space:
        value = override.value()
        ends = (
            [value.start, value.end] if isinstance(value, IntervalSweep) else list(override.sweep_iterator())
        )
        assert len(ends) > 1
        assert isinstance(value, IntervalSweep | ChoiceSweep)
        changed = [compose(f"{override.key_or_group}={end}") for end in ends]
        assert sum(cfg != plain for cfg in changed) >= len(ends) - 1  # each does something


@pytest.mark.parametrize(("engine", "plugin"), ENGINES.items())
def test_every_engine_composes(hydra_of, engine: str, plugin: str) -> None:
    assert (CONF / f"hydra/launcher/{engine}.yaml").is_file()
    needs(f"{plugin}_launcher")
    launcher = hydra_of(f"hydra/launcher={engine}").launcher
    assert f"hydra_{plugin}_launcher" in launcher._target_
