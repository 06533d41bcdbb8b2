import logging

import pytest

from davis_exp.tracking import wandb as tracking


@pytest.fixture
def environment(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return monkeypatch


def test_without_a_key_it_is_offline_and_says_so(environment, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        logger = tracking.wandb_logger(save_dir=str(tmp_path))
    assert logger._offline
    assert "offline" in caplog.text


@pytest.mark.parametrize("where", ["environment", "netrc"])
def test_with_a_key_it_is_online(environment, tmp_path, where):
    if where == "environment":
        environment.setenv("WANDB_API_KEY", "x" * 40)
    else:
        (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'x' * 40}\n")
    assert tracking.has_key()
    assert not tracking.wandb_logger(save_dir=str(tmp_path))._offline


def test_the_environment_wins(environment, tmp_path):
    environment.setenv("WANDB_MODE", "offline")
    assert tracking.wandb_logger(save_dir=str(tmp_path), mode="online")._offline


def test_a_broken_netrc_is_no_key(environment, tmp_path):
    (tmp_path / "netrc").write_text("nonsense here")
    assert not tracking.has_key()
