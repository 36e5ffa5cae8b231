"""Plain pytest checks every tensor shape that the engine names; a run that asks for slow tests does not.

A check is compiled whenever a function is made, inner ones at every call: three quarters of the time of all families'
tests went there. All families have the same shapes, so that `make test` runs the quick tests with the checks and the
slow ones without.
"""

import pytest
from jaxtyping import install_import_hook

QUICK = "not slow"


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == QUICK:
        install_import_hook("engine", "beartype.beartype")
