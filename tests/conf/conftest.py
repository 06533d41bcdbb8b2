"""What every test of the options has in common."""

from importlib.util import find_spec

import pytest


@pytest.fixture(autouse=True)
def _extra_is_there(request: pytest.FixtureRequest) -> None:
    """A skip for options of Keras' where it is not installed."""
    chosen = getattr(request.node, "callspec", None)
    named = [value for value in chosen.params.values() if isinstance(value, str)] if chosen else []
    if any(name.endswith("keras") for name in named) and find_spec("keras") is None:
        pytest.skip("Keras is not installed (the extra `keras`)")
