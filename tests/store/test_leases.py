"""Claiming, holding and losing an experiment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest
from sqlalchemy import text
from store_helpers import Clock, refused, spec_of

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Claim, LeaseLost, QueuedAttempt, Store

T = TypeVar("T")

PROBLEM = Refusal("out_of_memory", "No room.").details()


def claimed(store: Store, experiment_id: str, attempt: int = 1, owner: str = "w") -> Claim:
    claim = store.claim(experiment_id, attempt, owner=owner, lease_s=10)
    assert claim is not None
    return claim


@pytest.fixture
def experiment_id(store: Store) -> str:
    return store.submit(spec_of(), key="k")[0].id


def test_one_of_many_workers_gets_it(store: Store, experiment_id: str) -> None:
    start = threading.Barrier(8)

    def take(number: int) -> Claim | None:
        start.wait()
        return store.claim(experiment_id, 1, owner=f"w{number}", lease_s=10)

    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(take, range(8)) if claim is not None]
    assert len(claims) == 1
    assert claims[0].spec == spec_of()
    assert store.experiment(experiment_id).state == "running"


@pytest.mark.parametrize("attempt", [0, 2])
def test_only_the_queued_attempt_can_be_claimed(store: Store, experiment_id: str, attempt: int) -> None:
    assert store.claim(experiment_id, attempt, owner="w", lease_s=10) is None
    assert store.claim("nothing", 1, owner="w", lease_s=10) is None


def test_a_success_keeps_its_artifacts_and_drops_its_chunks(store: Store, experiment_id: str, tmp_path) -> None:
    claim = claimed(store, experiment_id)
    store.save_progress(claim, Progress(stage="saving", done=3, total=4, eta_s=1.5))
    store.save_chunk(claim, 0, b"chunk")
    store.succeed(claim, {"result.json": b"{}", "arrays.npz": b"\0" * 1000})
    experiment = store.experiment(experiment_id)
    assert experiment.state == "succeeded"
    assert experiment.progress == Progress(stage="done", done=4, total=4)
    assert experiment.started_at is not None
    assert experiment.finished_at is not None
    assert store.artifact_names(experiment_id) == ("arrays.npz", "result.json")
    assert store.chunks(experiment_id) == {}
    assert len([path for path in (tmp_path / "artifacts" / experiment_id).rglob("*") if path.is_file()]) == 2
    with store.open_artifact(experiment_id, "arrays.npz") as file:
        file.seek(990)
        assert file.read() == b"\0" * 10


def test_a_failure_keeps_its_chunks_and_says_what_was_wrong(store: Store, experiment_id: str) -> None:
    claim = claimed(store, experiment_id)
    store.save_chunk(claim, 0, b"first")
    store.save_chunk(claim, 1, b"second")
    store.save_chunk(claim, 1, b"second again")
    store.fail(claim, PROBLEM)
    experiment = store.experiment(experiment_id)
    assert (experiment.state, experiment.error) == ("failed", PROBLEM)
    with pytest.raises(Refusal, check=lambda refusal: refusal.code == "no_result"):
        store.read_artifact(experiment_id, "result.json")
    again = store.retry(experiment_id)
    assert (again.state, again.error) == ("queued", None)
    assert store.chunks(experiment_id) == {0: b"first", 1: b"second again"}


def test_a_worker_that_lost_its_lease_writes_nothing(store: Store, experiment_id: str, clock: Clock) -> None:
    frozen = claimed(store, experiment_id, owner="frozen")
    clock.now += 11
    assert len(store.reap()) == 1
    second = claimed(store, experiment_id, attempt=2, owner="second")
    for write in (
        lambda: store.renew(frozen, 10),
        lambda: store.save_progress(frozen, Progress(stage="pairs", done=9, total=9)),
        lambda: store.save_chunk(frozen, 0, b"late"),
        lambda: store.succeed(frozen, {"result.json": b"late"}),
        lambda: store.fail(frozen, PROBLEM),
        lambda: store.mark_cancelled(frozen, {"result.json": b"late"}),
        lambda: store.release(frozen),
    ):
        with pytest.raises(LeaseLost):
            write()
    experiment = store.experiment(experiment_id)
    assert (experiment.state, experiment.progress.done) == ("running", 0)
    assert store.chunks(experiment_id) == {}
    store.succeed(second, {"result.json": b"right"})
    assert store.read_artifact(experiment_id, "result.json") == b"right"


def test_a_finished_claim_writes_nothing_more(store: Store, experiment_id: str) -> None:
    claim = claimed(store, experiment_id)
    store.succeed(claim, {"result.json": b"{}"})
    with pytest.raises(LeaseLost):
        store.fail(claim, PROBLEM)
    assert store.experiment(experiment_id).state == "succeeded"


def test_a_renewed_lease_does_not_expire(store: Store, experiment_id: str, clock: Clock) -> None:
    claim = claimed(store, experiment_id)
    clock.now += 9
    store.renew(claim, 10)
    clock.now += 9
    assert store.reap() == []
    clock.now += 2
    assert len(store.reap()) == 1
    assert store.experiment(experiment_id).state == "queued"


def test_a_lease_from_before_the_clock_was_put_back_counts_as_lost_unless_it_is_renewed(
    store: Store, experiment_id: str, clock: Clock
) -> None:
    claim = claimed(store, experiment_id)
    clock.now -= 3600
    store.renew(claim, 10)
    assert store.reap() == []
    clock.now -= 4
    assert store.reap() == [], "clocks of two machines are never quite the same"
    clock.now -= 3600
    assert len(store.reap()) == 1
    assert store.experiment(experiment_id).state == "queued"


def test_a_clock_put_back_hides_no_message_and_no_dead_worker(store: Store, experiment_id: str, clock: Clock) -> None:
    store.mark_sent(QueuedAttempt(experiment_id, 1, 5))
    store.record_heartbeat(WorkerStatus(id="dead", device="cpu", models=(), busy=False))
    clock.now -= 3600
    assert store.workers() == []
    store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=False))
    assert [each.id for each in store.unsent()] == [experiment_id]


def test_a_lease_that_is_renewed_and_reaped_at_once_is_one_or_the_other(store: Store, clock: Clock) -> None:
    outcomes = set()
    with ThreadPoolExecutor(2) as pool:
        for number in range(40):
            experiment_id = store.submit(spec_of(), key=str(number))[0].id
            claim = claimed(store, experiment_id)
            clock.now += 11
            start = threading.Barrier(2)

            def renew(claim: Claim = claim, start: threading.Barrier = start) -> bool:
                start.wait()
                try:
                    store.renew(claim, 10)
                except LeaseLost:
                    return False
                return True

            def reap(start: threading.Barrier = start) -> int:
                start.wait()
                return len(store.reap())

            renewed, reaped = pool.submit(renew), pool.submit(reap)
            outcomes.add((renewed.result(), reaped.result()))
            assert store.experiment(experiment_id).state == ("running" if renewed.result() else "queued")
            store.reap(owner="w")
            store.delete(experiment_id)
    assert outcomes <= {(True, 0), (False, 1)}


def test_a_dead_workers_lease_is_taken_at_once_and_no_other(store: Store, experiment_id: str) -> None:
    other = store.submit(spec_of(), key="other")[0].id
    claimed(store, experiment_id, owner="dead")
    claimed(store, other, owner="alive")
    assert store.reap(owner="dead") == [(experiment_id, "queued")]
    assert store.experiment(other).state == "running"


def test_a_job_that_loses_three_workers_at_the_same_place_fails(store: Store, experiment_id: str) -> None:
    for attempt in (1, 2):
        claimed(store, experiment_id, attempt)
        assert store.reap(owner="w") == [(experiment_id, "queued")]
    claimed(store, experiment_id, 3)
    assert store.reap(owner="w") == [(experiment_id, "failed")]
    error = store.experiment(experiment_id).error
    assert error is not None
    assert error.type.endswith(":worker_lost")
    assert "3 times" in error.detail
    assert store.retry(experiment_id).state == "queued", "a person may insist"
    claimed(store, experiment_id, 4)
    assert store.reap(owner="w") == [(experiment_id, "queued")], "and it has three attempts again"


def test_a_job_that_gets_on_may_lose_any_number_of_workers(store: Store, experiment_id: str) -> None:
    for attempt in range(1, 9):
        claim = claimed(store, experiment_id, attempt)
        if attempt % 2:
            store.save_chunk(claim, attempt, b"new")
        assert store.reap(owner="w") == [(experiment_id, "queued")]


def test_the_same_chunk_again_is_no_progress(store: Store, experiment_id: str) -> None:
    for attempt in (1, 2, 3, 4):
        store.save_chunk(claimed(store, experiment_id, attempt), 0, b"same")
        lost = store.reap(owner="w")
    assert lost == [(experiment_id, "failed")]


def test_a_worker_asked_to_stop_returns_its_job_without_a_counted_loss(store: Store, experiment_id: str) -> None:
    for attempt in range(1, 6):
        claim = claimed(store, experiment_id, attempt)
        store.release(claim)
        assert store.experiment(experiment_id).state == "queued"


@pytest.mark.parametrize("given_back", [False, True])
def test_what_was_begun_and_lost_keeps_its_place_before_all_that_came_after(
    store: Store, clock: Clock, given_back: bool
) -> None:
    first = store.submit(spec_of(), key="first")[0].id
    clock.now -= 3600  # the clock was put back
    claim = claimed(store, first)
    clock.now += 3601
    later = store.submit(spec_of(), key="later")[0].id
    assert store.interrupted() == []
    if given_back:
        store.release(claim)
    else:
        store.reap(owner="w")
    assert store.interrupted() == [QueuedAttempt(first, 2, 5)]
    assert [waiting.id for waiting in store.unsent()] == [first, later]


def test_the_most_recent_of_several_lost_jobs_resumes_first(store: Store, clock: Clock) -> None:
    first, second = (store.submit(spec_of(), key=key)[0].id for key in ("first", "second"))
    for spec in (first, second):
        claimed(store, spec)
        clock.now += 1
        store.reap(owner="w")
    assert [waiting.id for waiting in store.interrupted()] == [second, first]


def test_a_retried_experiment_does_not_count_as_interrupted(store: Store, experiment_id: str, clock: Clock) -> None:
    store.fail(claimed(store, experiment_id), PROBLEM)
    clock.now -= 3600
    again = store.retry(experiment_id)
    assert (again.state, again.started_at) == ("queued", None)
    assert store.interrupted() == []


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled(store: Store, experiment_id: str) -> None:
    claimed(store, experiment_id)
    store.request_cancel(experiment_id)
    assert store.reap(owner="w") == [(experiment_id, "cancelled")]


def test_a_cancelled_job_whose_worker_must_stop_is_cancelled(store: Store, experiment_id: str) -> None:
    claim = claimed(store, experiment_id)
    store.request_cancel(experiment_id)
    assert store.release(claim) == "cancelled"
    assert store.experiment(experiment_id).state == "cancelled"


@contextmanager
def in_the_same_moment(store: Store, change: str, act: Callable[[], T]) -> Iterator[Future[T]]:
    with ThreadPoolExecutor(1) as pool:
        with store._database.write() as connection:
            connection.execute(text(f"UPDATE experiments SET {change}"))
            acting = pool.submit(act)
            with pytest.raises(TimeoutError):
                acting.result(0.5)
        yield acting


def test_a_cancel_in_the_moment_in_which_a_loss_is_noticed_counts(store: Store, experiment_id: str) -> None:
    claimed(store, experiment_id)
    with in_the_same_moment(store, "cancel_requested = true", lambda: store.reap(owner="w")) as reaped:
        assert reaped.result(10) == [(experiment_id, "cancelled")]


def test_a_chunk_in_the_moment_in_which_a_loss_is_noticed_counts(store: Store, experiment_id: str) -> None:
    for attempt in (1, 2):
        claimed(store, experiment_id, attempt)
        store.reap(owner="w")
    claimed(store, experiment_id, 3)
    with in_the_same_moment(store, "fruitless = 0", lambda: store.reap(owner="w")) as reaped:
        assert reaped.result(10) == [(experiment_id, "queued")]


@pytest.mark.parametrize("running", [True, False])
def test_a_cancel_during_a_change_of_workers_counts(store: Store, experiment_id: str, running: bool) -> None:
    if running:
        claimed(store, experiment_id)
    change = "state = 'queued', lease_owner = NULL" if running else "state = 'running', lease_owner = 'w'"
    with in_the_same_moment(store, change, lambda: store.request_cancel(experiment_id)) as cancelled:
        assert cancelled.result(10).cancel_requested


def test_an_unreadable_chunk_is_not_taken_for_a_damaged_one(store: Store, experiment_id: str, tmp_path) -> None:
    store.save_chunk(claimed(store, experiment_id), 0, b"good")
    (path,) = (tmp_path / "artifacts" / experiment_id / "chunks").iterdir()
    path.unlink()
    path.symlink_to(path)  # the file system returns an error for it
    with refused("store_unavailable"):
        store.chunks(experiment_id)


def test_a_damaged_chunk_is_left_out(store: Store, experiment_id: str, tmp_path) -> None:
    claim = claimed(store, experiment_id)
    store.save_chunk(claim, 0, b"good")
    store.save_chunk(claim, 1, b"soon bad")
    for path in (tmp_path / "artifacts" / experiment_id / "chunks").iterdir():
        if path.read_bytes() == b"soon bad":
            path.write_bytes(b"now bad!")
    assert store.chunks(experiment_id) == {0: b"good"}


def test_what_is_queued_is_sent_once_oldest_first(store: Store, clock: Clock) -> None:
    ids = []
    for number in range(3):
        ids.append(store.submit(spec_of(), key=str(number))[0].id)
        clock.now += 1
    assert [(each.id, each.attempt) for each in store.unsent()] == [(each, 1) for each in ids]
    assert len(store.unsent(limit=2)) == 2
    store.mark_sent(QueuedAttempt(ids[0], 1, 5))
    assert [each.id for each in store.unsent()] == ids[1:]
    claimed(store, ids[1])
    assert [each.id for each in store.unsent()] == ids[2:]


def test_a_new_attempt_is_sent_again(store: Store, experiment_id: str) -> None:
    store.mark_sent(QueuedAttempt(experiment_id, 1, 5))
    claimed(store, experiment_id)
    store.reap(owner="w")
    store.mark_sent(QueuedAttempt(experiment_id, 1, 5))  # a late message of the old attempt
    assert [(each.id, each.attempt) for each in store.unsent()] == [(experiment_id, 2)]


def test_what_a_broker_forgot_is_sent_again_as_soon_as_a_worker_stands_idle(store: Store, clock: Clock) -> None:
    for number in range(3):
        store.mark_sent(QueuedAttempt(store.submit(spec_of(), key=str(number))[0].id, 1, 5))
    clock.now += 31
    assert store.unsent() == [], "nobody is there to take them"
    store.record_heartbeat(WorkerStatus(id="a", device="cpu", models=(), busy=True))
    assert store.unsent() == [], "they wait behind a busy worker"
    store.record_heartbeat(WorkerStatus(id="b", device="cpu", models=(), busy=False))
    again = store.unsent()
    assert len(again) == 1, "as many as are idle"
    store.mark_sent(QueuedAttempt(again[0].id, 1, 5))
    assert [each.id for each in store.unsent()] != [again[0].id]
    clock.now += 60
    assert store.unsent() == [], "both workers are gone"


def test_two_servers_that_have_sent_the_same_write_it_down_in_one_order(store: Store) -> None:
    sent = [QueuedAttempt(store.submit(spec_of(), key=str(number))[0].id, 1, 5) for number in range(50)]
    start = threading.Barrier(2, timeout=20)

    def mark(those: list[QueuedAttempt]) -> None:
        for _ in range(10):
            start.wait()
            store.mark_sent(*those)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(mark, (sent, sent[::-1])))
    assert store.unsent() == []


def test_progress_reads_back_as_written(store: Store, experiment_id: str) -> None:
    claim = claimed(store, experiment_id)
    progress = Progress(stage="pairs", done=3, total=8, layer=2, layers=30, eta_s=4.5)
    store.save_progress(claim, progress)
    assert store.experiment(experiment_id).progress == progress


def test_many_threads_write_without_losing_anything(store: Store) -> None:
    ids = [store.submit(spec_of(), key=str(number))[0].id for number in range(4)]
    claims = [claimed(store, each) for each in ids]
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.save_chunk(claims[n % 4], n // 4, str(n).encode()), range(100)))
    finally:
        sys.setswitchinterval(0.005)
    for number, each in enumerate(ids):
        assert store.chunks(each) == {n: str(4 * n + number).encode() for n in range(25)}
