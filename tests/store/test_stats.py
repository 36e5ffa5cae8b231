"""The store's statistics."""

from __future__ import annotations

from store_helpers import Clock, finish, spec_of

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Store


def test_an_empty_store_has_empty_statistics(store: Store) -> None:
    queue, kept = store.queue_report(), store.store_report()
    assert (queue.waiting, queue.running, queue.oldest_wait_s) == (0, 0, None)
    assert (kept.experiments, kept.deleted, kept.artifact_bytes, kept.budget_bytes) == ({}, 0, 0, None)
    assert (store.worker_reports(), store.durations(), store.failures()) == ([], [], [])


def test_the_queue_is_counted_without_what_was_deleted(store: Store, clock: Clock) -> None:
    ids = []
    for number in range(4):
        ids.append(store.submit(spec_of(), key=str(number))[0].id)
        clock.now += 10
    store.delete(ids[0])
    assert store.claim(ids[1], 1, owner="w", lease_s=60) is not None
    report = store.queue_report()
    assert (report.waiting, report.running, report.oldest_wait_s) == (2, 1, 20)
    clock.now -= 3600
    assert store.queue_report().oldest_wait_s == 0, "the clock was put back"


def test_the_store_is_counted_by_state_and_by_bytes(store: Store) -> None:
    done, gone, _ = (store.submit(spec_of(), key=str(n))[0].id for n in range(3))
    for each in (done, gone):
        finish(store, each)
    store.delete(gone)
    report = store.store_report()
    assert report.experiments == {"queued": 1, "succeeded": 1}
    assert (report.deleted, report.artifact_bytes) == (1, 2 * len(b"{}"))
    assert store.experiment_counts() == [("path_patching", "queued", 1), ("path_patching", "succeeded", 1)]


def test_a_worker_is_shown_with_what_it_works_on(store: Store, clock: Clock) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    for name, busy in (("a", True), ("b", False), ("gone", False)):
        if name == "gone":
            clock.now -= 100
        store.record_heartbeat(WorkerStatus(id=name, device="cpu", models=("tiny",), busy=busy))
    clock.now += 102
    store.record_heartbeat(WorkerStatus(id="b", device="cpu", models=("tiny",), busy=False))
    assert store.claim(experiment.id, 1, owner="a", lease_s=60) is not None
    a, b = store.worker_reports()
    assert (a.id, a.busy, a.experiment, a.seen_s, a.models) == ("a", True, experiment.id, 2, ("tiny",))
    assert (b.id, b.busy, b.experiment, b.seen_s) == ("b", False, None, 0)


def test_failures_are_listed_latest_first(store: Store, clock: Clock) -> None:
    ids = []
    for number in range(3):
        experiment, _ = store.submit(spec_of(), key=str(number))
        claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
        assert claim is not None
        clock.now += 1
        store.fail(claim, Refusal("out_of_memory", f"Case {number}.").details())
        ids.append(experiment.id)
    seen = store.failures(limit=2)
    assert [(each.experiment, each.title, each.detail) for each in seen] == [
        (ids[2], "Out of memory", "Case 2."),
        (ids[1], "Out of memory", "Case 1."),
    ]
    assert seen[0].at.timestamp() == clock.now
    store.delete(ids[2])
    store.retry(ids[1])
    assert [each.experiment for each in store.failures()] == [ids[0]]
