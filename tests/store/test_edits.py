"""Renaming, moving up in the queue, cancelling, retrying, deleting and restoring experiments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import Clock, finish, refused, spec_of

from arithmoscope.contracts.experiments import ExperimentEdit
from arithmoscope.store import UNDO_S, QueuedAttempt, Store


def test_cancelling_a_queued_one_ends_it_and_cancelling_twice_changes_nothing(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    cancelled = store.request_cancel(experiment.id)
    assert (cancelled.state, cancelled.cancel_requested) == ("cancelled", True)
    assert cancelled.finished_at is not None
    assert store.request_cancel(experiment.id) == cancelled
    assert store.claim(experiment.id, 1, owner="w", lease_s=60) is None


def test_cancelling_a_running_one_raises_a_flag(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert not store.cancel_requested(experiment.id)
    assert store.request_cancel(experiment.id).state == "running"
    assert store.cancel_requested(experiment.id)


def test_cancelling_a_finished_one_leaves_it_finished(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    finish(store, experiment.id)
    after = store.request_cancel(experiment.id)
    assert (after.state, after.cancel_requested) == ("succeeded", False)


def test_a_cancelled_one_can_be_tried_again_with_a_clean_slate(store: Store, clock: Clock) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    store.save_chunk(claim, 0, b"chunk")
    store.request_cancel(experiment.id)
    store.mark_cancelled(claim, {"result.json": b"partial"})
    assert store.read_artifact(experiment.id, "result.json") == b"partial"
    clock.now += 10
    again = store.retry(experiment.id)
    assert (again.state, again.cancel_requested, again.error, again.finished_at) == ("queued", False, None, None)
    assert store.chunks(experiment.id) == {0: b"chunk"}
    with refused("not_finished"):
        store.read_artifact(experiment.id, "result.json")
    assert store.claim(experiment.id, 1, owner="w", lease_s=60) is None
    assert store.claim(experiment.id, 2, owner="w", lease_s=60) is not None


def test_what_waits_runs_or_succeeded_is_not_tried_again(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    with refused("not_retryable"):
        store.retry(experiment.id)
    finish(store, experiment.id)
    with refused("not_retryable"):
        store.retry(experiment.id)


@pytest.mark.parametrize("lost", [lambda path: path.unlink(), lambda path: path.write_bytes(b"[]")])
def test_one_whose_result_was_lost_is_tried_again(store: Store, tmp_path: Path, lost: Callable[[Path], object]) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    finish(store, experiment.id)
    (path,) = (each for each in (tmp_path / "artifacts").rglob("*") if each.is_file())
    lost(path)
    assert store.retry(experiment.id).state == "queued"
    finish(store, experiment.id, attempt=2)
    assert store.read_artifact(experiment.id, "result.json") == b"{}"
    with refused("not_retryable"):
        store.retry(experiment.id)


def test_an_old_failure_is_not_tried_again_beside_its_newer_twin(store: Store) -> None:
    old, _ = store.submit(spec_of(), key="k")
    store.request_cancel(old.id)
    newer, is_new = store.submit(spec_of(), key="k")
    assert is_new
    with refused("not_retryable"):
        store.retry(old.id)
    assert store.experiment(old.id).state == "cancelled"
    assert store.experiment(newer.id).state == "queued"


def test_names_and_notes_are_stored_and_omitted_fields_stay(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k", name="first")
    assert (experiment.name, experiment.notes, experiment.priority) == ("first", "", "normal")
    assert store.edit(experiment.id, ExperimentEdit(notes="n\n2")).name == "first"
    changed = store.edit(experiment.id, ExperimentEdit(name=""))
    assert (changed.name, changed.notes) == ("", "n\n2")
    assert store.experiment(experiment.id) == changed
    finish(store, experiment.id)
    assert store.edit(experiment.id, ExperimentEdit(name="done")).state == "succeeded"
    with refused("unknown_experiment"):
        store.edit("nobody", ExperimentEdit(name="x"))


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_text_that_no_database_can_keep_is_refused(store: Store, text: str) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    with refused("bad_request"):
        store.edit(experiment.id, ExperimentEdit.model_construct(name=None, notes=text, priority=None))
    with refused("bad_request"):
        store.submit(spec_of(), key="other", name=text)
    assert store.experiment(experiment.id) == experiment


def test_the_line_goes_by_priority_and_then_by_age(store: Store, clock: Clock) -> None:
    ids = []
    for priority in ("low", "normal", "high", "normal"):
        ids.append(store.submit(spec_of(), key=str(len(ids)), priority=priority)[0].id)
        clock.now += 1
    low, second, high, fourth = ids
    assert [(each.id, each.priority) for each in store.unsent()] == [(high, 3), (second, 5), (fourth, 5), (low, 7)]
    positions = {each.id: each.progress.queue_position for each in store.experiments().items}
    assert positions == {high: 0, second: 1, fourth: 2, low: 3}
    assert [store.experiment_status(each).progress.queue_position for each in ids] == [3, 1, 0, 2]


def test_a_queued_one_that_is_moved_up_is_sent_again_and_the_old_message_is_ignored(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    assert store.edit(experiment.id, ExperimentEdit(priority="high")).attempt == 1, "nothing was sent yet"
    store.mark_sent(QueuedAttempt(experiment.id, 1, 5))
    assert store.edit(experiment.id, ExperimentEdit(priority="high")).attempt == 1, "nothing changed"
    assert store.unsent() == []
    hurried = store.edit(experiment.id, ExperimentEdit(priority="low"))
    assert (hurried.priority, hurried.state) == ("low", "queued")
    (again,) = store.unsent()
    assert (again.id, again.priority) == (experiment.id, 7)
    assert store.claim(experiment.id, 1, owner="w", lease_s=60) is None
    assert store.claim(experiment.id, again.attempt, owner="w", lease_s=60) is not None
    assert store.edit(experiment.id, ExperimentEdit(priority="high")).attempt == again.attempt, "it runs"


def test_a_deleted_experiment_is_hidden_everywhere(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    finish(store, experiment.id)
    store.delete(experiment.id)
    looks: tuple[Callable[[str], object], ...] = (
        store.experiment,
        store.experiment_status,
        store.delete,
        store.retry,
        store.request_cancel,
        store.artifact_names,
        lambda name: store.edit(name, ExperimentEdit(name="x")),
        lambda name: store.read_artifact(name, "result.json"),
        lambda name: store.open_artifact(name, "result.json"),
        lambda name: store.put_artifact(name, "report.html", b"x"),
    )
    for look in looks:
        with refused("unknown_experiment"):
            look(experiment.id)
    assert store.find("k") is None
    assert store.experiments().items == ()
    assert store.experiments(state="succeeded").items == ()


def test_a_deleted_one_is_listed_apart_and_comes_back_as_it_was(store: Store, clock: Clock) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    finish(store, experiment.id)
    before = store.experiment(experiment.id)
    clock.now += 5
    store.delete(experiment.id)
    (seen,) = store.experiments(deleted=True).items
    assert seen.deleted_at is not None
    assert (seen.id, seen.deleted_at.timestamp()) == (experiment.id, clock.now)
    assert store.restore(experiment.id) == before
    assert store.restore(experiment.id) == before, "a second time changes nothing"
    assert store.read_artifact(experiment.id, "result.json") == b"{}"
    assert store.experiments(deleted=True).items == ()
    with refused("unknown_experiment"):
        store.restore("nobody")


def test_a_deleted_one_stops_waiting_and_waits_again_when_it_is_brought_back(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    other, _ = store.submit(spec_of(), key="other")
    store.mark_sent(QueuedAttempt(experiment.id, 1, 5))
    store.delete(experiment.id)
    assert [each.id for each in store.unsent()] == [other.id]
    assert store.experiment(other.id).progress.queue_position == 0
    assert store.counts() == (0, 1)
    assert store.claim(experiment.id, 1, owner="w", lease_s=60) is None, "its message comes to nothing"
    back = store.restore(experiment.id)
    assert (back.state, back.progress.queue_position is not None) == ("queued", True)
    assert {each.id for each in store.unsent()} == {experiment.id, other.id}
    assert store.claim(experiment.id, back.attempt, owner="w", lease_s=60) is not None


def test_the_same_question_is_free_again_after_a_deletion_and_only_one_of_both_lives(store: Store) -> None:
    first, _ = store.submit(spec_of(), key="k")
    store.delete(first.id)
    second, is_new = store.submit(spec_of(), key="k")
    assert is_new
    with refused("not_restorable"):
        store.restore(first.id)
    store.delete(second.id)
    assert store.restore(first.id).id == first.id
    with refused("not_restorable"):
        store.restore(second.id)


def test_requeued_and_restored_experiments_count_toward_the_quota_of_their_requester(store: Store) -> None:
    failed, _ = store.submit(spec_of(), key="failed", asked_by="a")
    store.request_cancel(failed.id)
    deleted, _ = store.submit(spec_of(), key="deleted", asked_by="a")
    store.delete(deleted.id)
    done, _ = store.submit(spec_of(), key="done", asked_by="a")
    finish(store, done.id)
    store.delete(done.id)
    waiting, _ = store.submit(spec_of(), key="waiting", asked_by="a", quota=1)
    with refused("quota_exceeded"):
        store.retry(failed.id, quota=1)
    with refused("quota_exceeded"):
        store.restore(deleted.id, quota=1)
    assert store.restore(waiting.id, quota=1) == waiting, "it counts already"
    assert store.restore(done.id, quota=1).state == "succeeded", "it waits for nothing"
    with refused("not_retryable"):
        store.retry(waiting.id, quota=1)
    store.request_cancel(waiting.id)
    assert store.retry(failed.id, quota=1).state == "queued"
    with refused("quota_exceeded"):
        store.restore(deleted.id, quota=1)


def test_a_full_store_takes_nothing_back(store: Store, urls: tuple[str, str], clock: Clock) -> None:
    kept, _ = store.submit(spec_of(), key="kept")
    failed, _ = store.submit(spec_of(), key="failed")
    store.request_cancel(failed.id)
    deleted, _ = store.submit(spec_of(), key="deleted")
    store.delete(deleted.id)
    finish(store, kept.id)
    with Store.open(*urls, budget=1, clock=clock) as full:
        with refused("store_full"):
            full.retry(failed.id)
        with refused("store_full"):
            full.restore(deleted.id)
        full.delete(kept.id)
        assert full.restore(deleted.id).state == "queued"


def test_a_deletion_cannot_be_undone_after_a_day(store: Store, clock: Clock) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    store.delete(experiment.id)
    clock.now += UNDO_S - 1
    assert [each.id for each in store.experiments(deleted=True).items] == [experiment.id]
    clock.now += 1
    assert store.experiments(deleted=True).items == ()
    with refused("not_restorable"):
        store.restore(experiment.id)


def test_a_running_one_is_not_deleted(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    store.claim(experiment.id, 1, owner="w", lease_s=60)
    with refused("still_running"):
        store.delete(experiment.id)
    assert store.experiment(experiment.id).state == "running"
