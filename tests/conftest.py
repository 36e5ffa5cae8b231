"""Plain pytest checks every tensor shape that the engine's functions declare; a run that includes slow tests does not.

All families have the same shapes, so that `make test` runs the quick tests with the checks and the slow ones without.
"""

from collections.abc import Callable
from typing import Any, Literal, get_origin

import jaxtyping
import pytest

import arithmoscope

QUICK = "not slow"


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == QUICK:
        jaxtyping.jaxtyped = _outer(jaxtyping.jaxtyped)  # what the hook's decorators call
        jaxtyping.install_import_hook("arithmoscope.engine", "beartype.beartype")


def _outer(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """Leaves out functions within functions: their checks are compiled again whenever the outer one is called, which
    took two thirds of the time of the tests."""

    def checked(*context: str, typechecker: Any = None) -> Any:
        if context:
            return jaxtyped(*context)
        check = jaxtyped(typechecker=typechecker)
        return lambda function: function if _is_local(function) or _has_options(function) else check(function)

    return checked


def _is_local(function: Any) -> bool:
    return "<locals>" in getattr(function, "__qualname__", "")


def _has_options(function: Any) -> bool:
    """Whether a public function takes options of a `Literal` type: tests see its own refusal of a wrong one."""
    if isinstance(function, type) or getattr(function, "__qualname__", "").split(".")[0] not in arithmoscope.__all__:
        return False
    annotations = [each for each in getattr(function, "__annotations__", {}).values() if isinstance(each, str)]
    named = [function.__globals__.get(name) for each in annotations for name in each.split(" | ")]
    return any(get_origin(each) is Literal for each in named)
