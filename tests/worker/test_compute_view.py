"""Views added to an analysis on request: computed once, of the stored result, and again if lost."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from arithmoscope_worker.compute_view import add_view
from job_helpers import CARD, Bench

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store import Claim
from arithmoscope.store.views import RETRY_AFTER_S, View, problem_file

KEY = View("key")


class ComputedViews(list[str]):
    """The results for which a view was computed; a view is its result's text."""

    def __init__(self, bench: Bench) -> None:
        self.refusal: Refusal | None = None
        bench.compute_view = self._look

    def _look(self, _model, _kind, _which, *, read) -> bytes:
        if self.refusal is not None:
            raise self.refusal
        self.append(read("result.json").decode())
        return b"of " + read("result.json")


def claimed(bench: Bench, experiment_id: str, attempt: int) -> Claim:
    claim = bench.store.claim(experiment_id, attempt, owner="w", lease_s=60)
    assert claim is not None
    return claim


@pytest.fixture
def done(bench: Bench) -> str:
    experiment_id = bench.submit()
    bench.store.succeed(claimed(bench, experiment_id, 1), {"result.json": b"whole"})
    return experiment_id


def test_a_view_is_computed_once_and_again_when_its_file_is_gone_or_damaged(
    bench: Bench, done: str, tmp_path: Path
) -> None:
    computed = ComputedViews(bench)
    kept = lambda: tmp_path / "artifacts" / done / bench.store.artifact_info(done, KEY.file).sha256  # noqa: E731
    for harm in (None, lambda: kept().unlink(), lambda: kept().write_bytes(b"other")):
        if harm is not None:
            harm()
        add_view(bench.store, bench.runtime, done, "key")
        add_view(bench.store, bench.runtime, done, "key")
        assert bench.store.read_artifact(done, KEY.file) == b"of whole"
    assert computed == ["whole"] * 3


@pytest.mark.parametrize("refusal", [None, Refusal("not_finite", "It is no number.")])
def test_nothing_is_kept_of_a_result_that_another_has_replaced_meanwhile(bench: Bench, refusal: Refusal | None) -> None:
    experiment_id = bench.submit()
    first = claimed(bench, experiment_id, 1)
    bench.store.request_cancel(experiment_id)
    bench.store.mark_cancelled(first, {"result.json": b"partial"})

    def look(_model, _kind, _which, *, read) -> bytes:
        seen = read("result.json")
        bench.store.retry(experiment_id)
        bench.store.succeed(claimed(bench, experiment_id, 2), {"result.json": b"whole"})
        if refusal is not None:
            raise refusal
        return b"of " + seen

    bench.compute_view = look
    add_view(bench.store, bench.runtime, experiment_id, "key")
    assert bench.store.artifact_names(experiment_id) == ("result.json",)
    ComputedViews(bench)
    add_view(bench.store, bench.runtime, experiment_id, "key")
    assert bench.store.read_artifact(experiment_id, KEY.file) == b"of whole"


def test_what_has_just_failed_is_not_tried_at_once_by_the_next_message(bench: Bench, done: str) -> None:
    computed = ComputedViews(bench)
    computed.refusal = Refusal("not_finite", "It is no number.")
    add_view(bench.store, bench.runtime, done, "key")
    assert b"It is no number." in bench.store.read_artifact(done, KEY.problem)
    computed.refusal = None
    add_view(bench.store, bench.runtime, done, "key")
    assert computed == []
    old = problem_file(Refusal("not_finite", "It is no number.").details(), time.time() - RETRY_AFTER_S)
    bench.store.put_artifact(done, KEY.problem, old)
    add_view(bench.store, bench.runtime, done, "key")
    assert computed == ["whole"]


def test_no_view_is_computed_of_a_deleted_or_rerunning_experiment(bench: Bench, done: str) -> None:
    computed = ComputedViews(bench)
    waiting = bench.submit("another")
    for experiment_id in (waiting, "nothing"):
        add_view(bench.store, bench.runtime, experiment_id, "key")
    assert computed == []
    assert bench.store.artifact_names(waiting) == ()


def test_attention_is_added_for_the_very_prompts_of_the_result(bench: Bench) -> None:
    experiment_id = bench.submit()
    result = {"model": {"revision": CARD.revision}}
    bench.store.succeed(claimed(bench, experiment_id, 1), {"result.json": json.dumps(result).encode()})
    args: list[object] = []
    bench.compute_view = lambda _model, *which, read: (
        args.extend([*which, json.loads(read("result.json"))]) or b"patterns"
    )
    add_view(bench.store, bench.runtime, experiment_id, "attention.1")
    assert args == ["attention", "1", result]
    assert bench.store.read_artifact(experiment_id, View("attention", "1").file) == b"patterns"
