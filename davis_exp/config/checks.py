"""Checks on a composed config before anything is made of it: names and simple types. No torch here."""

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from davis_exp.utils.errors import BadInput, choices

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_call(
    target: Callable[..., Any],
    kwargs: Mapping[str, Any],
    key: str,
    given: Iterable[str] = (),
    partial: bool = False,
) -> None:
    """Check that `target(**kwargs)` can be called, before it is: names, then simple types.

    Arguments:
        target: the class or function that the config node at `key` names.
        kwargs: the node's own arguments (Hydra's `_target_` etc. are passed over).
        key: where the node is in the config ("decoder"), for the message.
        given: arguments that the program supplies; a config may not set them.
        partial: whether more arguments follow later (`_partial_: true`): then none is missing yet.

    Raises BadInput for an unknown, misplaced, missing or mistyped argument. Only annotations made of bool,
    int, float, str, None, Literal, list, tuple and dict are held against the value; an int does for a float.
    """
    given = set(given)
    values = {name: value for name, value in kwargs.items() if not _is_hydra_key(name)}
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return
    name = getattr(target, "__name__", str(target))
    accepted = {p.name: p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    settable = [p for p in accepted if p not in given]
    for argument, value in values.items():
        where = f"{key}.{argument}" if key else argument
        if argument in given:
            raise BadInput(f"{where}: {name} gets '{argument}' from the program; leave it out")
        if argument not in accepted:
            if open_ended:
                continue
            raise BadInput(
                f"{where}: {name} takes no '{argument}'{choices(argument, settable, verb='it takes')}"
            )
        annotation = _annotation(target, accepted[argument])
        if value is not None or accepted[argument].default is not None:
            _check_value(where, value, annotation)
    for argument in () if partial else settable:
        if accepted[argument].default is inspect.Parameter.empty and argument not in values:
            where = f"{key}.{argument}" if key else argument
            raise BadInput(f"{key}: {name} needs '{argument}'; give {where}=…")


def check_types(cfg: "DictConfig | Mapping[str, Any]", schema: Mapping[str, Any]) -> None:
    """Check the keys that are our own (not a constructor's) against `schema`: dotted key → annotation.

    A key of the schema may be absent, but none may stand beside them: `{"seed": int, "task.ema": float,
    "encoder": Any}` refuses `sede` and `task.emma`, and asks nothing of what is in `encoder`.
    Raises BadInput with the key, what was expected, and a suggestion where the key is unknown.
    """
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg
    parents = {key[:i] for key in schema for i, letter in enumerate(key) if letter == "."}

    def check(node: Mapping[str, Any], prefix: str) -> None:
        known = [k.removeprefix(prefix) for k in [*schema, *parents] if k.startswith(prefix)]
        siblings = {k for k in known if "." not in k}
        for name, value in node.items():
            key = f"{prefix}{name}"
            if key in schema:
                _check_value(key, value, schema[key])
            elif key in parents and isinstance(value, Mapping):
                check(value, f"{key}.")
            elif key in parents:
                raise BadInput(f"{key}: expected keys ({key}.…=…), got {_shown(value)}")
            else:
                raise BadInput(f"{key}: no such key{choices(str(name), siblings, prefix)}")

    check(container, "")  # type: ignore[arg-type]


def _check_value(key: str, value: Any, annotation: Any) -> None:
    if not _fits(value, annotation):
        raise BadInput(f"{key}: expected {_described(annotation)}, got {_shown(value)}")


def _is_hydra_key(name: Any) -> bool:
    return name in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")


def _annotation(target: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The parameter's annotation. Text is evaluated by itself: some name types that only checkers know."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        function = inspect.unwrap(target.__init__ if isinstance(target, type) else target)  # type: ignore[misc]
        try:
            return eval(annotation, getattr(function, "__globals__", {}))
        except Exception:
            return Any
    return Any if annotation is inspect.Parameter.empty else annotation


def _fits(value: Any, annotation: Any) -> bool:
    """Whether `value` may be an `annotation`; True for every annotation that is not a simple one."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if isinstance(value, Mapping) and "_target_" in value:  # a node still to be instantiated
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in arguments)
    if origin in (None, types.NoneType):
        return value is None
    if origin is bool:
        return isinstance(value, bool)
    if origin in (int, float):
        return isinstance(value, int if origin is int else int | float) and not isinstance(value, bool)
    if origin is str:
        return isinstance(value, str)
    if origin is dict:
        return isinstance(value, Mapping)
    if origin is list or (origin is tuple and arguments[1:] == (...,)):
        return isinstance(value, list | tuple) and all(_fits(v, a) for v in value for a in arguments[:1])
    if origin is tuple:
        if not isinstance(value, list | tuple) or (arguments and len(value) != len(arguments)):
            return False
        return all(map(_fits, value, arguments))
    return True


def _described(annotation: Any) -> str:
    """An annotation in words: "int or null", "list of float"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (None, types.NoneType):
        return "null"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_described, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple and arguments[1:] != (...,):
        return f"{len(arguments)} values ({', '.join(map(_described, arguments))})"
    if origin in (list, tuple):
        return f"list of {_described(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def _shown(value: Any) -> str:
    return "null" if value is None else f"{value!r} ({type(value).__name__})"
