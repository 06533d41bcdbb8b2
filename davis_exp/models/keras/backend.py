"""Keras 3 on torch: imported here, and nowhere before it is asked for."""

import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from davis_exp.utils.errors import brief

INSTALL = "Keras 3 is not installed; pip install 'davis_exp[keras]'"


def keras() -> Any:
    """The module `keras`, on torch. Raises ValueError where it is not installed, or runs on another backend already."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        module = importlib.import_module("keras")
        backend = module.backend.backend()
        absl = importlib.import_module("absl.logging")  # Keras' own
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{INSTALL} ({brief(error)})") from error
    # Its handler is told to go whenever logging is set up anew, and would close the stderr of the moment it was made in.
    absl.get_absl_handler().python_handler.setStream(sys.__stderr__)
    if backend != "torch":
        raise ValueError(
            f"Keras is active on {backend} in this process; it must be on torch: set KERAS_BACKEND=torch before it is "
            "imported"
        )
    return module


def function(name: str) -> Callable[..., Any]:
    """What a factory is called by, as keras.applications.MobileNetV2 or my_module.make. Raises ValueError."""
    keras()  # on torch, before a module of the user's imports it
    try:
        found = pkgutil.resolve_name(name)
    except Exception as error:  # of the user's module
        raise ValueError(
            f"factory={name}: cannot import it ({type(error).__name__}: {brief(error)})"
        ) from error
    if not callable(found):
        raise ValueError(f"factory={name}: it is no function")
    return found


def parameters(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What a function can be given, by name."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin
        return {}


def call(name: str, options: dict[str, Any]) -> Any:
    """The Keras model that a factory makes with `options`: without weights unless they ask for some. Raises ValueError."""
    make = function(name)
    own = {"weights": None} if "weights" in parameters(make) else {}  # applications fetch them else
    try:
        model = make(**own | options)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"factory={name}: {type(error).__name__}: {brief(error)}") from error
    if not isinstance(model, keras().Model):
        raise ValueError(f"factory={name}: it makes a {type(model).__name__}, no keras.Model")
    return model
