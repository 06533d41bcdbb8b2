"""Every option of the groups that training is made of composes and builds; experiments with every group overridden."""

from importlib.util import find_spec

import pytest
import torch
import yaml

from davis_exp.config import conf_dir, groups
from davis_exp.experiment import build
from davis_exp.experiment.trainer import build_trainer
from davis_exp.launch import ranks

CONF = conf_dir()


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


@pytest.mark.parametrize("name", options("optimizer"))
@pytest.mark.parametrize("schedule", options("scheduler"))
def test_optimizer_and_scheduler(compose, name, schedule):
    cfg = compose(f"optimizer={name}", f"scheduler={schedule}")
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = build.make(cfg.optimizer, "optimizer")([weight])
    scheduler = build.make(cfg.scheduler, "scheduler")(optimizer, total_steps=10)
    for _ in range(10):
        weight.sum().backward()
        optimizer.step()
        scheduler.step()
    assert weight.item() < 1


@pytest.mark.parametrize("name", [n for n in options("trainer") if "gpu" not in n and "ddp" not in n])
@pytest.mark.parametrize("logger", options("logger"))
def test_trainer_and_logger(compose, name, logger, tmp_path):
    if logger in ("mlflow", "aim") and find_spec(logger) is None:
        pytest.skip(f"{logger} is not installed (the extra `{logger}`)")
    cfg = compose(f"trainer={name}", f"logger={logger}")
    trainer = build_trainer(cfg, tmp_path, [])
    assert trainer.default_root_dir == str(tmp_path)
    assert len(trainer.loggers) == {"none": 0, "csv": 1}.get(logger, 2)


@pytest.mark.parametrize("name", ["ddp_cpu", "ddp_gpu"])
def test_several_devices_are_the_command_line_s_to_start(compose, name, tmp_path):
    cfg = compose(f"trainer={name}")
    assert ranks.number(cfg.trainer.devices) == 2
    with pytest.raises(build.BadInput, match="trainer"):
        build_trainer(cfg, tmp_path, [])


def test_gpu_trainer_says_so_where_there_is_none(compose, tmp_path):
    cfg = compose("trainer=gpu")
    if torch.cuda.is_available():
        assert build_trainer(cfg, tmp_path, []).num_devices == 1
    else:
        with pytest.raises(build.BadInput, match="trainer"):
            build_trainer(cfg, tmp_path, [])


@pytest.mark.parametrize("name", options("callbacks"))
def test_callbacks(compose, name):
    cfg = compose(f"callbacks={name}")
    assert len(build.build_callbacks(cfg)) == len([node for node in cfg.callbacks.values() if node])


@pytest.mark.parametrize("name", options("experiment"))
def test_experiment_builds_within_its_budget(compose, name):
    cfg = compose(f"experiment={name}")
    cost = build.cost(cfg)
    assert cost.parameters > 0
    assert cfg.budget.limit is None or cost.parameters <= cfg.budget.limit
    assert build.build_task(cfg, build.build_model(cfg)).config["name"] == name


@pytest.mark.parametrize("name", options("experiment"))
@pytest.mark.parametrize("place", [0, -1])
def test_experiment_composes_with_its_groups_overridden(compose, name, place):
    """With the first, and with the last, option of every group at once: an overlay must not lean on any."""
    others = {
        group: choices[place]
        for group, (_, choices) in groups(CONF, "train").items()
        if group != "experiment"
    }
    cfg = compose(f"experiment={name}", *(f"{group}={choice}" for group, choice in others.items()))
    assert cfg.name == name


def test_every_yaml_says_what_it_is():
    for path in CONF.rglob("*.yaml"):
        text = path.read_text()
        assert any(line.startswith("# ") and "@package" not in line for line in text.splitlines()[:2]), path
        assert isinstance(yaml.safe_load(text), dict), path


def test_no_interpolation_crosses_groups():
    for path in CONF.glob("*/*.yaml"):
        for line in path.read_text().splitlines():
            said = line.split("#")[0].replace(
                "${seed}", ""
            )  # a root key, which no choice of an option removes
            assert "${" not in said, f"{path}: {line}"
