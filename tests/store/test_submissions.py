"""Submitting, listing, cancelling, retrying, deleting."""

from __future__ import annotations

import base64
import json
import multiprocessing
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from store_helpers import Clock, finish, refused, spec_of

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds.knockout import KnockoutSpec
from arithmoscope.store import Store


def test_an_experiment_comes_back_as_submitted(store: Store, clock: Clock) -> None:
    experiment, is_new = store.submit(spec_of("3 + 5 ="), key="k", parent="older")
    assert is_new
    stored = store.experiment(experiment.id)
    assert stored == experiment
    assert stored.spec == spec_of("3 + 5 =")
    assert (stored.state, stored.parent, stored.error, stored.cancel_requested) == ("queued", "older", None, False)
    assert stored.progress == Progress(stage="queued", queue_position=0)
    assert stored.created_at.timestamp() == clock.now
    assert stored.created_at.utcoffset() is not None


def test_a_knockout_runs_on_the_given_model_and_is_listed_by_its_parent(store: Store) -> None:
    spec = KnockoutSpec(kind="knockout", parent="older")
    with pytest.raises(ValueError, match="parent's model"):
        store.submit(spec, key="k")
    experiment, _ = store.submit(spec, key="k", model="tiny", parent="older")
    store.submit(spec_of(), key="other")
    assert [each.id for each in store.experiments(parent="older").items] == [experiment.id]
    claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    assert (claim.model, claim.spec) == ("tiny", spec)


def test_ids_cannot_be_guessed_and_begin_with_no_sign(store: Store) -> None:
    ids = {store.submit(spec_of(), key=str(n))[0].id for n in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch("[0-9a-f]{24}", each) for each in ids)


def test_the_same_question_gets_the_same_experiment_until_it_fails(store: Store) -> None:
    first, _ = store.submit(spec_of(), key="k")
    assert store.submit(spec_of(), key="k") == (first, False)
    finish(store, first.id)
    again, is_new = store.submit(spec_of(), key="k")
    assert (again.id, again.state, is_new) == (first.id, "succeeded", False)
    other, _ = store.submit(spec_of(), key="other")
    store.request_cancel(other.id)
    fresh, is_new = store.submit(spec_of(), key="other")
    assert is_new
    assert fresh.id != other.id


def test_fifty_threads_that_ask_the_same_make_one_experiment(store: Store) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: store.submit(spec_of(), key="k"), range(50)))
    assert len({experiment.id for experiment, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1


def _submit_repeatedly(urls: tuple[str, str], number: int) -> list[tuple[str, bool]]:
    with Store.open(*urls) as store:
        answers = [store.submit(spec_of(), key="shared") for _ in range(10)]
        store.submit(spec_of(), key=f"own {number}")
    return [(experiment.id, is_new) for experiment, is_new in answers]


def test_processes_that_open_and_ask_at_once_make_one_experiment(urls: tuple[str, str]) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        answers = pool.starmap(_submit_repeatedly, [(urls, number) for number in range(3)])
    assert len({each for answer in answers for each, _ in answer}) == 1
    assert sum(is_new for answer in answers for _, is_new in answer) == 1
    with Store.open(*urls) as store:
        assert len(store.experiments().items) == 4


def test_the_list_is_newest_first_and_pages_without_gaps_or_repeats(store: Store, clock: Clock) -> None:
    experiment = []
    for number in range(7):
        clock.now += number // 3  # several in the same moment
        experiment.append(store.submit(spec_of(), key=str(number))[0])
    newest_first = sorted(experiment, key=lambda e: (e.created_at, e.id), reverse=True)
    seen, cursor = [], None
    while True:
        page = store.experiments(limit=2, cursor=cursor)
        seen += page.items
        cursor = page.next_cursor
        store.submit(spec_of(), key=f"late {len(seen)}")
        clock.now += 1
        if cursor is None:
            break
    assert [each.id for each in seen] == [each.id for each in newest_first]


def test_a_page_of_the_list_ends_early_where_long_questions_fill_it(store: Store, clock: Clock) -> None:
    experiment = []
    for number in range(6):
        clock.now += 1
        questions = (f"{number} + 1 ="[:12].ljust(3_900),) * (1 if number == 5 else 200)
        experiment.append(store.submit(spec_of(*questions), key=str(number))[0].id)
    pages, cursor = [], None
    while cursor is not None or not pages:
        page = store.experiments(cursor=cursor, limit=200)
        pages.append([each.id for each in page.items])
        cursor = page.next_cursor
    assert [each for page in pages for each in page] == experiment[::-1]
    assert [len(page) for page in pages] == [2, 1, 1, 1, 1]


def test_a_status_read_has_the_progress(store: Store, clock: Clock) -> None:
    experiment, _ = store.submit(spec_of(), key="1")
    clock.now += 1
    later, _ = store.submit(spec_of(), key="2")
    assert store.experiment_status(later.id).progress.queue_position == 1
    claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    store.save_progress(claim, Progress(stage="pairs", done=1, total=2))
    seen = store.experiment_status(experiment.id)
    assert (seen.state, seen.progress) == ("running", store.experiment(experiment.id).progress)
    with refused("unknown_experiment"):
        store.experiment_status("nobody")


def test_the_list_is_filtered_by_kind_state_and_model(store: Store) -> None:
    done, _ = store.submit(spec_of(model="a"), key="1")
    finish(store, done.id)
    waiting, _ = store.submit(spec_of(model="b"), key="2")
    assert [each.id for each in store.experiments(state="succeeded").items] == [done.id]
    assert [each.id for each in store.experiments(model="b").items] == [waiting.id]
    assert len(store.experiments(kind="path_patching").items) == 2
    assert store.experiments(kind="path_patching", state="failed").items == ()
    assert store.experiments(limit=2).next_cursor is None


@pytest.mark.parametrize(
    "cursor", ["", "!", "x" * 500, "ü", base64.urlsafe_b64encode(json.dumps({"a": 1}).encode()).decode()]
)
def test_a_cursor_that_was_never_handed_out_is_refused(store: Store, cursor: str) -> None:
    with refused("bad_request"):
        store.experiments(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_has_a_size_within_bounds(store: Store, limit: int) -> None:
    with refused("bad_request"):
        store.experiments(limit=limit)


def test_the_queue_position_counts_those_before_in_the_queue(store: Store, clock: Clock) -> None:
    ids = []
    for number in range(3):
        ids.append(store.submit(spec_of(), key=str(number))[0].id)
        clock.now += 1

    def positions() -> list[int | None]:
        return [store.experiment(each).progress.queue_position for each in ids]

    assert positions() == [0, 1, 2]
    assert [each.progress.queue_position for each in store.experiments().items] == [2, 1, 0]
    finish(store, ids[0])
    assert positions() == [None, 0, 1]


def test_a_token_has_no_more_unfinished_ones_than_its_quota(store: Store) -> None:
    first, _ = store.submit(spec_of(), key="1", asked_by="ada", quota=2)
    store.submit(spec_of(), key="2", asked_by="ada", quota=2)
    with refused("quota_exceeded"):
        store.submit(spec_of(), key="3", asked_by="ada", quota=2)
    assert store.submit(spec_of(), key="1", asked_by="ada", quota=2) == (store.experiment(first.id), False)
    assert store.submit(spec_of(), key="3", asked_by="bob", quota=2)[1], "another token"
    assert store.claim(first.id, 1, owner="w", lease_s=60) is not None
    with refused("quota_exceeded"):
        store.submit(spec_of(), key="4", asked_by="ada", quota=2)
    store.request_cancel(store.submit(spec_of(), key="2")[0].id)
    assert store.submit(spec_of(), key="4", asked_by="ada", quota=2)[1], "a cancelled one is finished"
    for quota in (None, 0):
        assert store.submit(spec_of(), key=f"no quota {quota}", asked_by="ada", quota=quota)[1]


def test_many_who_ask_at_once_do_not_pass_the_quota(store: Store) -> None:
    def submit_numbered(number: int) -> bool:
        try:
            return store.submit(spec_of(), key=str(number), asked_by="ada", quota=5)[1]
        except Refusal as refusal:
            return refusal.code != "quota_exceeded"

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(submit_numbered, range(30))) == 5


def test_a_link_is_used_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: store.use_link("a" * 64), range(8))) == 1
    assert store.use_link("b" * 64)
