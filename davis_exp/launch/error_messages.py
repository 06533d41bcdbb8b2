"""What Hydra and OmegaConf refuse, said in one line with what to do about it."""

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from davis_exp.launch.quoting import pasted
from davis_exp.utils.errors import choices

# Messages of Hydra's that miss the point: pattern → ours (with the pattern's groups).
REWORDED = {
    r"Ambiguous value for argument '([^=]+)=(.*)'": (
        "{0}={1}: several values; add -m to sweep over them, or write {0}=[{1}] for a list"
    ),
    r"Could not append to config\. An item is already at '([^']+)'": (
        "+{0}: '{0}' is there already; write it without the +"
    ),
    r"Multiple values for (\S+)\. To override a value use 'override .*: (.*)'": (
        "{0}: given twice; write {0}={1} without a +, or 'override {0}: {1}' in a defaults list"
    ),
    r"Config group override must be a string": (
        "a group takes the name of an option (GROUP=OPTION); to leave a group out, write ~GROUP"
    ),
    r"[\s\S]*Key '(n_trials|n_jobs|sampler|direction|storage|study_name)' not in 'BasicSweeperConf'": (
        "hydra.sweeper.{0}: searches are davis-exp search, which takes search.trials=N and --workers N"
    ),
    r"provider=(\S+).*, path=(.*) is not available": "{0}: there is no folder {1}",
}

# Options that come with a plugin of Hydra's: which of our extras brings it.
EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/ray": "ray",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
}


def explain(error: BaseException, compose: Callable[[str], DictConfig]) -> str:
    """One line for `error`, which Hydra raised before a job began.

    Arguments:
        compose: gives the config without the overrides of the key that is refused, so that another can be
            suggested from it; may raise.
    """
    text = next((str(e) for e in causes(error) if str(e).strip()), type(error).__name__)
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    for option, extra in EXTRAS.items():
        if isinstance(error, MissingConfigException) and option in (error.missing_cfg_file, *text.split("'")):
            return f"{option}: not installed; pip install 'davis_exp[{extra}]'"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file == "hydra/sweeper/optuna":
        return "hydra/sweeper=optuna: a search is a command of its own: davis-exp search"
    if isinstance(error, MissingConfigException) and error.options:
        return _no_option(error, error.options)
    refused = re.match(r"Could not (?:override|delete)(?: from config\.)? '([^'@=]+)", text)
    if refused and (sentence := _no_key(refused[1], compose)):
        return sentence
    for pattern, ours in REWORDED.items():
        if match := re.match(pattern, text):
            return ours.format(*match.groups())
    cause = error.__cause__
    return flat(f"{text} ({flat(str(cause))})" if cause is not None and str(cause) not in text else text)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, what it was raised from or while handling, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__  # OmegaConf clears the cause


def _unreadable(error: OverrideParseException) -> str:
    override = error.override
    key, equals, value = override.partition("=")
    if not equals:
        return f"'{override}' is no override: write KEY=VALUE or GROUP=OPTION"
    if not value.startswith(("'", '"')):
        simple = not any(sign in value for sign in ('"', "\\", "${"))
        how = shlex.quote(f'{key}="{value}"') if simple else pasted(key, value)
        return f"cannot read '{override}': quote the value, twice for the shell: {how}"
    return f"cannot read '{override}': {flat(str(error))}"


def _no_option(error: MissingConfigException, options: Any) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    public = [name for name in options if not name.startswith("_")]
    return f"{group}={option}: no such option{choices(option, public, f'{group}=')}"


def _no_key(key: str, compose: Callable[[str], DictConfig]) -> str | None:
    """Names the first part of the dotted `key` that is not there, and what stands in its place."""
    try:
        node = OmegaConf.to_container(compose(key), resolve=False)
    except Exception:  # another override is wrong as well: say at least which one was refused first
        return f"{key}: no such key; davis-exp COMMAND --cfg job shows which there are"
    prefix = ""
    for part in key.split("."):
        if not isinstance(node, dict):
            return f"{key}: {prefix.rstrip('.')} is a value and has no keys"
        if part not in node:
            names = [str(name) for name in node if not str(name).startswith("_")]
            return f"{key}: no such key{choices(part, names, prefix)}"
        node, prefix = node[part], f"{prefix}{part}."
    return None


def flat(text: str) -> str:
    """A message of Hydra's or OmegaConf's as one line, without where they looked and what object it was."""
    text = re.sub(r"\n(Config )?[Ss]earch path:.*|\nSee https?://.*", "", text, flags=re.DOTALL)
    text = re.sub(r"\n\s*(full_key|object_type|reference_type)[:=].*", "", text)
    return " ".join(text.split())
