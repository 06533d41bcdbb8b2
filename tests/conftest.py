"""Fixtures for every test: where real data lives, and an environment in which nothing reaches outside."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

# A suite that was started with `&` in a script inherits an ignored Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "DAVIS_EXP_CACHE" not in os.environ:
    os.environ["DAVIS_EXP_CACHE"] = tempfile.mkdtemp(prefix="davis_exp_cache_")
    atexit.register(shutil.rmtree, os.environ["DAVIS_EXP_CACHE"], ignore_errors=True)

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout, or a skip that says what is missing."""
    root = Path(os.environ.get("DAVIS_EXP_SHARED", REPO.parent / "shared"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root} (set DAVIS_EXP_SHARED)")
    return root


@pytest.fixture(scope="session")
def davis_root(shared: Path) -> Path:
    """DAVIS-2016: `train` at 360p and six `val` sequences at 480p, in DAVIS layout."""
    root = shared / "davis2016"
    if not root.is_dir():
        pytest.skip(f"no DAVIS-2016 at {root}")
    return root


@pytest.fixture
def compose():
    """compose("decoder=fpn", "seed=3", config="train") → the config that the command line would get."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from davis_exp.config import conf_dir

    def composed(*overrides: str, config: str = "train"):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return hydra_compose(config, overrides=list(overrides))

    return composed
