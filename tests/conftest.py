"""One run for everything: which tests share a process, in what order they start, and where tensor shapes are checked.

`make test` runs pytest with xdist. Tests of one group (a folder whose tests share a server, otherwise a file) run in
one process, so that each group starts its browser, PostgreSQL or model once; the longest groups start first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, Literal, get_origin

# Several processes share the cores, and the matrices are tiny. Before torch is imported, and for child processes too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import jaxtyping
import pytest

import arithmoscope

# How long one example takes depends on what else the machine does.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# Folders whose tests share what is expensive to start: the page's server and browser, PostgreSQL, the built wheel.
SHARED = ("tests/e2e", "tests/store", "tests/packaging", "tests/soak")
# The longest first, so that none of them is left over at the end.
FIRST = (
    "tests/e2e",
    "tests/soak",
    "tests/packaging",
    "tests/worker",
    "tests/store",
    "tests/arithmoscope",
    "tests/engine",
)
# Public functions that refuse wrong arguments in their own lines.
CHECK_THEMSELVES = ("LoadedModel.token_text",)
# Families whose tensor shapes are checked. All families have the same shapes, and each check costs time.
SHAPED = {"LlamaForCausalLM", "Gemma2ForCausalLM"}


def group_of(nodeid: str) -> str:
    """The tests that run in one process, in their order."""
    path = PurePosixPath(nodeid.partition("::")[0])
    return next((folder for folder in SHARED if path.is_relative_to(folder)), str(path))


def family_of(item: pytest.Item) -> str | None:
    """The architecture, or variant of one, that a test is repeated for."""
    spec = getattr(item, "callspec", None)
    return None if spec is None else spec.params.get("architecture") or spec.params.get("variant")


def pytest_configure(config: pytest.Config) -> None:
    jaxtyping.jaxtyped = _outer(jaxtyping.jaxtyped)  # what the hook's decorators call
    jaxtyping.install_import_hook("arithmoscope.engine", "beartype.beartype")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return next((at for at, folder in enumerate(FIRST) if item.nodeid.startswith(f"{folder}/")), len(FIRST))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return Groups(config, log)


@pytest.fixture(autouse=True)
def _shapes_are_checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Checks the declared shapes, but not again for each family and not in the tests that take minutes."""
    family = family_of(request.node)
    unchecked = (family is not None and family not in SHAPED) or "slow" in request.keywords
    jaxtyping.config.update("jaxtyping_disable", unchecked)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _outer(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """Leaves out functions within functions: their checks are compiled again whenever the outer one is called, which
    took two thirds of the time of the tests."""

    def unchecked(function: Any) -> bool:
        return (
            _is_local(function) or _has_options(function) or getattr(function, "__qualname__", "") in CHECK_THEMSELVES
        )

    def checked(*context: str, typechecker: Any = None) -> Any:
        if context:
            return jaxtyped(*context)
        check = jaxtyped(typechecker=typechecker)
        return lambda function: function if unchecked(function) else check(function)

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
