"""The tables of kinds and views are complete: everything that is looked up by a row's name exists."""

import inspect
from typing import get_args

import pytest

from arithmoscope.checks import check_of
from arithmoscope.contracts.kinds import KINDS, ExperimentResult, ExperimentSpec, Kind
from arithmoscope.contracts.kinds.base import RESULT, ExperimentKind
from arithmoscope.contracts.views import VIEWS, ViewKind
from arithmoscope.engine.experiments import run_of
from arithmoscope.store.views import View, is_view

_CALLBACKS = {"parent", "saved_chunks", "save_chunk", "on_progress", "on_partial", "should_stop"}


def test_the_table_of_kinds_has_a_row_for_every_kind_and_no_other() -> None:
    assert tuple(KINDS) == get_args(Kind)
    assert tuple(kind.spec for kind in KINDS.values()) == get_args(get_args(ExperimentSpec)[0])
    assert tuple(kind.result for kind in KINDS.values()) == get_args(get_args(ExperimentResult)[0])


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_has_its_checks_and_a_run_that_takes_the_callbacks_of_every_run(kind: ExperimentKind) -> None:
    checks = check_of(kind.spec.model_construct(kind=kind.name))  # pyright: ignore[reportArgumentType]
    assert all(callable(check) for check in (checks.check_spec, checks.check_prompts, checks.sets_read))
    assert inspect.signature(run_of(kind.name)).parameters.keys() >= _CALLBACKS
    for model in (kind.spec, kind.result):
        assert get_args(model.model_fields["kind"].annotation) == (kind.name,)
    assert ("parent" in kind.spec.model_fields) == (kind.parent != "none")
    assert ("model" in kind.spec.model_fields) == (kind.parent != "required")


def test_no_artifact_takes_the_address_of_a_view_or_of_the_result() -> None:
    names = {artifact.name for kind in KINDS.values() for artifact in kind.artifacts}
    assert names.isdisjoint({*VIEWS, RESULT, "result", "events", "cancel", "retry", "restore", "components.csv"})
    assert not any(is_view(name) for name in names)


def test_the_table_of_views_has_a_row_for_every_view_whose_file_is_recognised() -> None:
    assert tuple(VIEWS) == get_args(ViewKind)
    for row in VIEWS.values():
        which = {None: "", "prompt": "7", "component": "L3H1"}[row.parameter]
        view = View(row.name, which)
        assert View.parse(str(view)) == view
        assert is_view(view.file)
        assert is_view(view.problem) == view.problem.startswith("view.")
        assert View.parse(f"{row.name}.") is None
        assert View.parse(f"{row.name}.../etc") is None
