"""Where conf/ is, and checks on a composed config. No torch here, and nothing slow to import."""

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from davis_exp.utils.errors import BadInput

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Keys (shell patterns on the dotted key) that do not change what a run computes: `digest` leaves them out.
NOT_IN_DIGEST = (
    *("hydra", "search", "logger", "callbacks", "budget", "name", "resume", "resume_allow", "allow"),
    *("*.root", "*.path", "*.paths", "*.folder", "*.default_root_dir"),
    *("*.workers", "*.num_workers", "*.persistent_workers", "*.pin_memory", "*.prefetch_factor", "*.threads"),
    *("*.cache", "*.cache_dir", "*.cache_gb", "*.device", "*.devices", "*.num_nodes", "*.accelerator"),
    *("*.enable_progress_bar", "*.enable_model_summary", "*.log_every_n_steps"),
)

# Keys that came later → what means that a run computes what it did before there were any: `digest` leaves them out then.
LATER: dict[str, Any] = {
    "data.flow_gaps": None,
    "flow.fit": "frame",
    "inference.carry": 0.0,
    "inference.consensus": 0.0,
    "inference.flow_gaps": None,
    "inference.track": False,
    "inference.track_share": 0.4,
    "teacher": {},
    "weights": None,
}

# Modules that stored configs and digests name as they were called when runs were first kept → where they are now.
MOVED = {
    "davis_exp.schedules.": "davis_exp.training.schedules.",
    "davis_exp.callbacks.": "davis_exp.training.callbacks.",
    "davis_exp.tracking.csv.": "davis_exp.tracking.metrics_csv.",
}

# Keys of `budget` that limit what a model costs → what status.json calls that.
LIMITED = {
    "limit": "nparams",
    "max_flops": "nflops",
    "max_activation_mb": "activation_mb",
    "max_ms": "ms",
}

# What `budget.aims` may name → what status.json calls that.
COSTS = {"parameters": "nparams", "flops": "nflops", "activation_mb": "activation_mb", "ms": "ms"}

# Root keys of our primary configs, for `check_types`; what a constructor takes is left to `check_call`.
ROOT_KEYS: dict[str, Any] = {
    "name": str,
    "seed": int,
    "resume": str | None,
    "resume_allow": list[str],
    "weights": str | None,
    "checkpoint": str,
    "allow": list[str],
    "budget.name": str,
    "budget.limit": int | None,
    "search.trials": int,
    "search": Any,
    "tune": Any,
    "budget.aims": dict[str, float] | None,
    **{f"budget.{name}": float | None for name in LIMITED if name != "limit"},
    **dict.fromkeys(
        ["model", "encoder", "temporal", "decoder", "flow", "loss", "teacher", "optimizer", "scheduler"], Any
    ),
    **dict.fromkeys(["data", "augmentation", "trainer", "callbacks", "logger", "task", "inference"], Any),
}

COUNTED = {"model", "encoder", "temporal", "decoder", "inference", "budget"}  # what a cost depends on


def conf_dir() -> Path:
    """The folder of config groups: a checkout's own conf/, else the copy that the wheel installs."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "conf").is_dir():
        return checkout / "conf"
    return package / "conf"


def groups(conf: Path, config_name: str) -> dict[str, tuple[str | None, list[str]]]:
    """The groups in the defaults list of `config_name`: group → (its default, its options).

    Read straight from the files, since composing would cost ten times as much. Options beginning with "_" are
    parts of others and left out.
    """
    import yaml

    found: dict[str, tuple[str | None, list[str]]] = {}
    for entry in yaml.safe_load((conf / f"{config_name}.yaml").read_text()).get("defaults", []):
        if isinstance(entry, str) and (conf / f"{entry}.yaml").is_file():
            found |= groups(conf, entry)
        for key, default in entry.items() if isinstance(entry, dict) else ():
            group = key.removeprefix("optional ").split("@")[0].strip("/")
            options = sorted(p.stem for p in (conf / group).glob("*.yaml") if not p.stem.startswith("_"))
            if options and not key.startswith("override "):
                found[group] = (default, options)
    return found


def check_whole(cfg: "DictConfig | Mapping[str, Any]", config_name: str) -> None:
    """Check that a config composed from `config_name` has all keys that it came with. Raises BadInput for one taken out.

    What may be none is not missed (flow, teacher, logger, callbacks, weights), nor the parts of a model that is one whole.
    """
    whole = not (cfg.get("model") or {"_partial_": True}).get("_partial_")
    spared = {
        "flow",
        "teacher",
        "logger",
        "callbacks",
        "weights",
        *(("encoder", "temporal", "decoder") if whole else ()),
    }
    needed = _own_keys(conf_dir(), config_name) if config_name != "budget" else COUNTED
    for key in sorted(needed - cfg.keys() - spared):
        _, options = groups(conf_dir(), config_name).get(key, (None, []))
        instead = f", or choose {key}=none" if "none" in options else ""
        raise BadInput(f"{key}: missing, and nothing works without it; leave ~{key} out{instead}")


def _own_keys(conf: Path, config_name: str) -> set[str]:
    """The root keys of every config that is composed from `config_name`."""
    import yaml

    text = (conf / f"{config_name}.yaml").read_text()
    if "@package" in text:  # another's
        return set()
    content = yaml.safe_load(text)
    keys = content.keys() - {"defaults", "hydra"}
    for entry in content.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            keys |= _own_keys(conf, entry)
        elif isinstance(entry, dict):
            keys |= {
                key
                for key, default in entry.items()
                if default and not key.startswith(("override ", "optional "))
            }
    return keys


def option(group: str, name: str) -> dict[str, Any]:
    """An option of a group as its file has it, over those of the same group in its defaults list; nothing is resolved."""
    import yaml

    content = yaml.safe_load((conf_dir() / group / f"{name}.yaml").read_text("utf-8"))
    merged: dict[str, Any] = {}
    for base in content.pop("defaults", ()):
        merged |= option(group, base) if isinstance(base, str) and base != "_self_" else {}
    return merged | content


def moved(target: str) -> str:
    """A stored `_target_`, by the name that it has today."""
    former = next((former for former in MOVED if target.startswith(former)), "")
    return MOVED[former] + target.removeprefix(former) if former else target


def digest(cfg: "DictConfig | Mapping[str, Any]") -> str:
    """sha256 (hex) of the resolved config without `NOT_IN_DIGEST`: equal digests compute the same thing."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg

    def kept(node: Any, key: str) -> Any:
        if not isinstance(node, Mapping):
            return [kept(item, key) for item in node] if isinstance(node, list | tuple) else node
        dotted = {name: f"{key}.{name}" if key else str(name) for name in node}
        return {
            str(name): kept(value, dotted[name])
            for name, value in node.items()
            if not any(fnmatch.fnmatchcase(dotted[name], pattern) for pattern in NOT_IN_DIGEST)
            and not (dotted[name] in LATER and (value or LATER[dotted[name]]) == LATER[dotted[name]])
        }

    text = json.dumps(kept(container, ""), sort_keys=True, separators=(",", ":"), default=str)
    for former, now in MOVED.items():
        text = text.replace(f'"_target_":"{now}', f'"_target_":"{former}')
    return hashlib.sha256(text.encode()).hexdigest()
