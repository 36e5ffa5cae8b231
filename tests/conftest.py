"""Plain pytest checks every tensor shape that the engine's functions name; a run that asks for slow tests does not.

All families have the same shapes, so that `make test` runs the quick tests with the checks and the slow ones without.
"""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest

QUICK = "not slow"


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == QUICK:
        jaxtyping.jaxtyped = _outer(jaxtyping.jaxtyped)  # what the hook's decorators call
        jaxtyping.install_import_hook("arithmoscope.engine", "beartype.beartype")


def _outer(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """Leaves out functions within functions: their checks are compiled again whenever the outer one is called, which
    took two thirds of the time of the tests."""

    def checked(*, typechecker: Any) -> Callable[[Any], Any]:
        check = jaxtyped(typechecker=typechecker)
        return lambda made: made if "<locals>" in getattr(made, "__qualname__", "") else check(made)

    return checked
