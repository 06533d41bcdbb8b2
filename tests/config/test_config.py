"""Checks on a composed config, and where it comes from."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
from omegaconf import OmegaConf

from davis_exp import config
from davis_exp.config import composed
from davis_exp.utils.errors import BadInput


class Unet:
    def __init__(
        self,
        *,
        channels: tuple[int, ...],
        width: int = 64,
        rate: float = 0.1,
        attention: str | None = None,
        levels: "list[int]" = (1, 2),  # type: ignore[assignment]
        size: tuple[int, int] = (3, 4),
        mode: Literal["fan", "xavier"] = "fan",
        later: "OnlyForCheckers" = None,  # type: ignore[name-defined]  # noqa: F821
        deep: bool = False,
        sloppy: int = None,  # type: ignore[assignment]  # noqa: RUF013
        old: Optional[float] = None,  # noqa: UP045
    ) -> None: ...


def open_ended(lr: float = 1e-3, **others: Any) -> None: ...


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"widht": 3},
            "decoder.widht: Unet takes no 'widht'; did you mean 'width'? It takes: attention, deep, later, "
            "levels, mode, old, rate, size, sloppy, width",
        ),
        ({"zzz": 3}, "decoder.zzz: Unet takes no 'zzz'; it takes: attention, deep, later, "),
        ({"width": "ten"}, "decoder.width: expected int, got 'ten' (str)"),
        ({"width": 2.5}, "decoder.width: expected int, got 2.5 (float)"),
        ({"width": True}, "decoder.width: expected int, got True (bool)"),
        ({"width": None}, "decoder.width: expected int, got null"),
        ({"rate": "x"}, "decoder.rate: expected float, got 'x' (str)"),
        ({"attention": 3}, "decoder.attention: expected str or null, got 3 (int)"),
        ({"levels": 3}, "decoder.levels: expected list of int, got 3 (int)"),
        ({"levels": [1, "a"]}, "decoder.levels: expected list of int, got [1, 'a'] (list)"),
        ({"size": [1, 2, 3]}, "decoder.size: expected 2 values (int, int), got [1, 2, 3] (list)"),
        ({"size": [1, 0.5]}, "decoder.size: expected 2 values (int, int), got [1, 0.5] (list)"),
        ({"mode": "x"}, "decoder.mode: expected one of 'fan', 'xavier', got 'x' (str)"),
        ({"deep": 1}, "decoder.deep: expected bool, got 1 (int)"),
        ({"old": "1e-3x"}, "decoder.old: expected float or null, got '1e-3x' (str)"),
        ({"channels": [1]}, "decoder.channels: Unet gets 'channels' from the program; leave it out"),
    ],
)
def test_a_call_that_cannot_work_is_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        config.check_call(Unet, kwargs, "decoder", given=["channels"])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"_target_": "x.Unet", "_partial_": True, "_convert_": "all"},
        {"width": 3, "rate": 1, "attention": None, "levels": [1], "size": (1, 2), "mode": "xavier"},
        {"later": object(), "deep": True, "sloppy": None, "old": 3},
        {"width": {"_target_": "x.Width"}},  # a node of its own: what it becomes is not known yet
    ],
)
def test_a_call_that_can_work_passes(kwargs: dict[str, Any]) -> None:
    config.check_call(Unet, kwargs, "decoder", given=["channels"])


def test_a_missing_argument_is_named_unless_more_come_later() -> None:
    with pytest.raises(BadInput, match=r"^decoder: Unet needs 'channels'; give decoder.channels=…$"):
        config.check_call(Unet, {}, "decoder")
    config.check_call(Unet, {}, "decoder", partial=True)


@pytest.mark.parametrize("target", [open_ended, dict, int])
def test_a_target_that_takes_anything_is_given_anything(target: Callable[..., Any]) -> None:
    config.check_call(target, {"whatever": 3} if target is not int else {}, "optimizer")


def test_a_known_argument_beside_open_ended_ones_is_still_checked() -> None:
    with pytest.raises(BadInput, match=r"^optimizer.lr: expected float, got 'high' \(str\)$"):
        config.check_call(open_ended, {"lr": "high", "betas": [0, 1]}, "optimizer")


def test_third_party_signatures_can_be_checked() -> None:
    from pytorch_lightning import Trainer
    from torch.optim import AdamW

    config.check_call(Trainer, {"max_steps": 3, "accelerator": "cpu", "precision": "bf16-mixed"}, "trainer")
    with pytest.raises(BadInput, match=r"^trainer.max_steps: expected int, got 'ten' \(str\)$"):
        config.check_call(Trainer, {"max_steps": "ten"}, "trainer")
    config.check_call(AdamW, {"lr": 1e-3, "betas": [0.9, 0.99], "fused": None}, "optimizer", given=["params"])
    with pytest.raises(BadInput, match="did you mean 'weight_decay'"):
        config.check_call(AdamW, {"weight_decy": 0}, "optimizer", given=["params"])


SCHEMA = {"name": str, "seed": int, "task.ema": float, "budget.limit": int | None, "encoder": Any}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": "x"}, "seed: expected int, got 'x' (str)"),
        ({"budget": {"limit": "5e6"}}, "budget.limit: expected int or null, got '5e6' (str)"),
        ({"sede": 3}, "sede: no such key; did you mean 'seed'? There are: budget, encoder, name, seed, task"),
        ({"task": {"emma": 1}}, "task.emma: no such key; did you mean 'task.ema'? There are: ema"),
        ({"task": 3}, "task: expected keys (task.…=…), got 3 (int)"),
    ],
)
def test_our_own_keys_are_checked(changed: dict[str, Any], message: str) -> None:
    good = {
        "name": "x",
        "seed": 3,
        "task": {"ema": 1},
        "budget": {"limit": None},
        "encoder": {"any": "thing"},
    }
    config.check_types(OmegaConf.create(good), SCHEMA)
    with pytest.raises(BadInput) as caught:
        config.check_types(OmegaConf.create(good | changed), SCHEMA)
    assert str(caught.value) == message


def test_the_digest_says_what_a_run_computes() -> None:
    cfg = {
        "name": "a",
        "seed": 0,
        "encoder": {"_target_": "x", "depth": "${seed}"},
        "data": {"root": "/a", "workers": 2, "size": [3, 4], "cache": "ram", "cache_gb": 4},
        "logger": {"x": 1},
        "trainer": {"accelerator": "cpu", "max_steps": 3},
    }
    same = {
        **cfg,
        "name": "b",
        "data": {"size": [3, 4], "workers": 0, "root": "/b", "cache": "disk", "cache_gb": 0.5},
        "logger": {},
        "trainer": {"max_steps": 3, "accelerator": "gpu"},
        "callbacks": {"y": 2},
        "encoder": {"depth": 0, "_target_": "x"},  # resolved, and in another order
    }
    digest = config.digest(OmegaConf.create(cfg))
    assert len(bytes.fromhex(digest)) == 32
    assert config.digest(OmegaConf.create(same)) == digest
    plain: Any = OmegaConf.to_container(OmegaConf.create(cfg), resolve=True)
    assert config.digest(plain) == digest
    for key, value in [("seed", 1), ("data.size", [4, 3]), ("trainer.max_steps", 4)]:
        changed = OmegaConf.create(cfg)
        OmegaConf.update(changed, key, value)
        assert config.digest(changed) != digest, key


def test_a_run_of_before_a_module_moved_is_known_by_its_digest() -> None:
    now, before = (
        {"seed": 0, "scheduler": {"_target_": f"davis_exp.{place}schedules.poly", "_partial_": True}}
        for place in ("training.", "")
    )
    assert config.digest(now) == config.digest(before)
    assert config.digest(now) != config.digest(
        now | {"scheduler": {"_target_": "davis_exp.training.schedules.cosine"}}
    )
    assert config.moved("davis_exp.schedules.poly") == "davis_exp.training.schedules.poly"
    assert config.moved("my_package.schedules.poly") == "my_package.schedules.poly"


@pytest.mark.parametrize(
    ("overrides", "before"),
    [
        ((), "31d427669bbc"),
        (("experiment=hfan_lite",), "787e86f34930"),
        (("experiment=mobile",), "546d16a27c28"),
    ],
)
def test_keys_that_came_later_leave_the_digests_of_former_runs(compose, overrides, before) -> None:
    now = compose(*overrides)
    assert config.digest(now).startswith(before)
    for change in (
        "data.flow_gaps=[1,-1]",
        "inference.carry=0.5",
        "inference.flow_gaps=[1,-1]",
        "inference.track=mass",
        "teacher=checkpoint",
    ):
        own = (*overrides, change, *(["teacher.checkpoint=x"] if change.startswith("teacher") else []))
        assert config.digest(compose(*own)) != config.digest(now)


def test_a_checkouts_conf_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "davis_exp"
    for conf in (package / "conf", tmp_path / "conf"):
        conf.mkdir(parents=True)
    monkeypatch.setattr(composed, "__file__", str(package / "config" / "composed.py"))
    assert config.conf_dir() == package / "conf"  # beside site-packages/davis_exp may lie anybody's conf/
    (tmp_path / "pyproject.toml").touch()
    assert config.conf_dir() == tmp_path / "conf"


def test_the_groups_of_a_config_are_read_from_its_files(tmp_path: Path) -> None:
    for name in ("encoder/b", "encoder/a", "encoder/_part", "sub/deep/c", "unused/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.yaml").touch()
    (tmp_path / "train.yaml").write_text(
        "defaults: [_base, _self_, encoder: b, optional /sub/deep@x: null, override hydra/launcher: basic]"
    )
    assert config.groups(tmp_path, "train") == {"encoder": ("b", ["a", "b"]), "sub/deep": (None, ["c"])}


def test_the_root_keys_are_those_of_the_primary_configs() -> None:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        for name in ("train", "test", "budget"):
            cfg = compose(name, ["checkpoint=x"] if name == "test" else [])
            config.check_types(cfg, config.ROOT_KEYS)


def test_it_is_cheap_to_import() -> None:
    code = "import sys, davis_exp.config; print({'torch', 'hydra', 'omegaconf', 'yaml'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        *[
            (key, "")
            for key in ("model", "encoder", "decoder", "loss", "optimizer", "scheduler", "trainer", "data")
        ],
        *[(key, f", or choose {key}=none") for key in ("temporal", "augmentation", "budget")],
        *[(key, "") for key in ("task", "inference", "seed", "name")],
    ],
)
def test_what_is_taken_out_and_needed_is_named(compose, key: str, instead: str) -> None:
    cfg = OmegaConf.to_container(compose(f"~{key}"))
    with pytest.raises(BadInput) as refused:
        config.check_whole(cfg, "train")
    assert str(refused.value) == f"{key}: missing, and nothing works without it; leave ~{key} out{instead}"


def test_what_may_be_none_may_be_taken_out(compose) -> None:
    config.check_whole(compose("~flow", "~logger", "~callbacks"), "train")
    whole = OmegaConf.to_container(compose("~temporal", "~decoder", "~encoder"))
    config.check_whole({**whole, "model": {"_target_": "mine.Whole"}}, "train")
    config.check_whole(compose("~loss", "~trainer", config="budget"), "budget")
    config.check_whole(compose("~logger", config="test"), "test")
