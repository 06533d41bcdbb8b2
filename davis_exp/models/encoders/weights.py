"""Weights of models that were trained here, in the files that `davis-exp export` writes or that ship."""

from typing import Any

from torch import nn

from davis_exp.models import zoo


def is_trained_here(weights: str) -> bool:
    """Whether `weights` names such a file: zoo/NAME, or a path that ends in .safetensors."""
    return zoo.is_model_file(weights)


def load_trained(encoder: nn.Module, weights: str) -> None:
    """Fill `encoder` with that of a model trained here; one of single frames may take the appearance stream of two.

    Raises ValueError if there is no such file, or it does not fit.
    """
    try:
        state, about = zoo.read(zoo.find(weights))
    except Exception as error:
        raise ValueError(f"weights={weights}: cannot load them ({summary(error)})") from error
    own = encoder.state_dict()
    for prefix in ("encoder.", "encoder.appearance."):
        found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if {key: value.shape for key, value in found.items()} == {k: v.shape for k, v in own.items()}:
            encoder.load_state_dict(found)
            return
    raise ValueError(
        f"weights={weights}: they are of another encoder, {_described(about)}; choose that one, or other weights"
    )


def _described(about: dict[str, Any]) -> str:
    """The encoder that a model's config names: "TwoStreamEncoder (appearance EfficientNetLite variant 0)"."""
    node = about.get("config", {}).get("encoder", {})
    within = node.get("appearance") or {}
    kinds = [str(part.get("_target_", "?")).rpartition(".")[2] for part in (node, within) if part]
    which = next((f" {key} {within[key]}" for key in ("name", "variant") if key in within), "")
    return (
        kinds[0] + (f" (appearance {kinds[1]}{which})" if within else "")
        if kinds
        else "which it does not say"
    )


def summary(error: Exception) -> str:
    """What an exception says, in its first line."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
