"""Estimates for queued experiments."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text
from store_helpers import Clock, on_sqlite, spec_of

from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Store


def run(store: Store, clock: Clock, key: str, seconds: float, model: str = "tiny") -> None:
    """Runs one experiment that waited a minute and then took this long."""
    experiment, _ = store.submit(spec_of(model=model), key=key)
    clock.now += 60
    claim = store.claim(experiment.id, 1, owner="w", lease_s=1000)
    assert claim is not None
    clock.now += seconds
    store.succeed(claim, {})


def alive(store: Store, *names: str) -> None:
    for name in names:
        store.record_heartbeat(WorkerStatus(id=name, device="cpu", models=(), busy=False))


def etas(store: Store, *ids: str) -> list[float | None]:
    listed = {each.id: each.progress.eta_s for each in store.experiments().items}
    estimates = [store.experiment(each).progress.eta_s for each in ids]
    assert [listed[each] for each in ids] == estimates
    assert [store.experiment_status(each).progress.eta_s for each in ids] == estimates
    return estimates


def test_a_duration_is_of_the_work_and_not_of_the_wait(store: Store, clock: Clock) -> None:
    run(store, clock, "a", 10)
    (seen,) = store.durations()
    assert (seen.kind, seen.model, seen.mean_s, seen.n) == ("path_patching", "tiny", 10, 1)


def test_durations_are_a_moving_average_of_each_model(store: Store, clock: Clock) -> None:
    for number, seconds in enumerate([10, 20, 30]):
        run(store, clock, str(number), seconds)
    assert store.durations()[0].mean_s == pytest.approx(20), "the plain mean of a few"
    for number in range(40):
        run(store, clock, f"later {number}", 100)
    run(store, clock, "other", 7, model="other")
    other, tiny = store.durations()
    assert (other.model, other.mean_s, other.n) == ("other", 7, 1)
    assert tiny.n == 43
    assert tiny.mean_s == pytest.approx(100, abs=0.1), "what was long ago is forgotten"


def test_a_run_that_goes_on_from_chunks_or_does_not_succeed_is_no_measure(store: Store, clock: Clock) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    claim = store.claim(experiment.id, 1, owner="w", lease_s=10)
    assert claim is not None
    store.save_chunk(claim, 0, b"x")
    store.release(claim)
    claim = store.claim(experiment.id, 2, owner="w", lease_s=10)
    assert claim is not None
    clock.now += 5
    store.succeed(claim, {})
    cancelled, _ = store.submit(spec_of(), key="cancelled")
    claim = store.claim(cancelled.id, 1, owner="w", lease_s=10)
    assert claim is not None
    clock.now += 5
    store.mark_cancelled(claim)
    assert store.durations() == []


def test_a_clock_that_is_put_back_during_a_run_gives_no_negative_duration(store: Store, clock: Clock) -> None:
    run(store, clock, "k", -3600)
    assert store.durations() == []


def test_a_queued_one_has_an_estimated_start(store: Store, clock: Clock) -> None:
    run(store, clock, "before", 10)
    first, second, third = (store.submit(spec_of(), key=str(n))[0].id for n in range(3))
    by_turn = [each.id for each in store.unsent()]
    assert sorted(by_turn) == sorted([first, second, third])
    assert etas(store, *by_turn) == [None, None, None], "there is no worker"
    alive(store, "a")
    assert etas(store, *by_turn) == [0, 10, 20]
    alive(store, "a", "b")
    assert etas(store, *by_turn) == [0, 5, 10]
    assert store.claim(by_turn[0], 1, owner="a", lease_s=100) is not None
    clock.now += 4
    assert etas(store, *by_turn[1:]) == [3, 8], "what is left of the one that runs, shared by two workers"
    clock.now += 60
    alive(store, "a")
    assert etas(store, *by_turn[1:]) == [0, 10], "it takes longer than ever, and b is gone"


def test_no_estimate_exists_behind_a_question_that_never_finished(store: Store, clock: Clock) -> None:
    run(store, clock, "before", 10)
    alive(store, "a")
    finished, _ = store.submit(spec_of(), key="1")
    clock.now += 1
    strange, _ = store.submit(spec_of(model="strange"), key="2")
    clock.now += 1
    last, _ = store.submit(spec_of(), key="3")
    assert etas(store, finished.id, strange.id, last.id) == [0, 10, None]


def test_the_eta_of_a_running_one_is_what_its_worker_says(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    claim = store.claim(experiment.id, 1, owner="w", lease_s=10)
    assert claim is not None
    store.save_progress(claim, Progress(stage="pairs", done=1, total=2, eta_s=3.5))
    assert store.experiment_status(experiment.id).progress == Progress(stage="pairs", done=1, total=2, eta_s=3.5)


@on_sqlite
def test_a_long_line_costs_little_per_look(store: Store) -> None:
    """The queue is read from its index alone, for specs of any size."""
    with store._database.read() as connection:
        plan = connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT kind, model, count(*) FROM experiments WHERE state = 'queued'"
                " AND deleted_at IS NULL AND (priority, queued_at, id) < (5, 1.0, 'x') GROUP BY kind, model"
            )
        ).all()
    assert "COVERING INDEX experiments_queue (state=? AND" in " ".join(str(row) for row in plan)


@pytest.mark.slow
def test_a_thousand_that_wait_are_submitted_listed_and_taken_in_time_that_grows_with_their_number(
    store: Store, clock: Clock
) -> None:
    def seconds(count: int, tag: str) -> float:
        started = time.process_time()
        for number in range(count):
            store.submit(spec_of(), key=f"{tag} {number}")
            clock.now += 0.001
        while batch := store.unsent():
            store.mark_sent(*batch)
        cursor = None
        for _ in range(count // 50):
            cursor = store.experiments(cursor=cursor).next_cursor
        return time.process_time() - started

    first = seconds(250, "a")
    seconds(500, "b")
    assert seconds(250, "c") < 4 * first + 2, "behind 750 others"
