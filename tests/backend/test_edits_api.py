"""Experiments over HTTP: renamed, moved up in the queue, deleted and restored; the quota of unfinished ones."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from api_helpers import PROBLEM, Api, events, finish, soon, spec
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http.keyed_lock import KeyedLock

from arithmoscope.checks import prompt_reader
from arithmoscope.store import Store


def ids(api: Api, query: str = "") -> list[str]:
    return [each["id"] for each in api.get(f"/api/experiments{query}").json()["items"]]


def test_a_name_and_notes_are_kept_beside_an_experiment_and_can_be_taken_away(api: Api) -> None:
    where = f"/api/experiments/{api.submit()}"
    answer = api.patch(where, json={"name": "First look", "notes": "Layer 14?\n**yes**"})
    assert answer.status_code == 200
    assert (answer.json()["name"], answer.json()["notes"]) == ("First look", "Layer 14?\n**yes**")
    assert api.patch(where, json={"name": ""}).json()["notes"] == "Layer 14?\n**yes**"
    assert (api.get(where).json()["name"], api.get(where).json()["notes"]) == ("", "Layer 14?\n**yes**")


def test_a_name_and_a_priority_are_no_part_of_the_question(api: Api) -> None:
    first = api.post("/api/experiments?priority=high&name=Mine", json=spec())
    again = api.post("/api/experiments?priority=low&name=Other", json=spec())
    assert (first.status_code, again.status_code) == (202, 200)
    assert (again.json()["id"], again.json()["name"], again.json()["priority"]) == (first.json()["id"], "Mine", "high")


def test_a_higher_priority_goes_before_earlier_submissions(api: Api) -> None:
    first, second = api.submit(), api.submit(spec("4 + 4 ="))

    def place(experiment_id: str) -> int:
        return api.get(f"/api/experiments/{experiment_id}").json()["progress"]["queue_position"]

    assert (place(first), place(second)) == (0, 1)
    assert api.patch(f"/api/experiments/{second}", json={"priority": "high"}).json()["priority"] == "high"
    assert (place(first), place(second)) == (1, 0)


@pytest.mark.parametrize(
    "body", [{"name": "x" * 121}, {"notes": "x" * 10_001}, {"priority": "urgent"}, {"state": "succeeded"}, []]
)
def test_what_cannot_be_written_beside_an_experiment_is_refused_and_changes_nothing(api: Api, body: object) -> None:
    where = f"/api/experiments/{api.submit()}"
    before = api.get(where).json()
    answer = api.patch(where, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert api.get(where).json() == before


def test_a_deleted_experiment_is_hidden_until_it_is_restored(api: Api) -> None:
    experiment_id = api.submit()
    where = f"/api/experiments/{experiment_id}"
    finish(api.store, experiment_id)
    assert api.delete(where).status_code == 204
    hidden = ["", "/result", "/components.csv", "/arrays.npz", "/attention?layer=0&prompt=0", "/events"]
    assert {api.get(where + path).status_code for path in hidden} == {404}
    assert api.patch(where, json={"name": "x"}).status_code == 404
    assert (ids(api), ids(api, "?deleted=true")) == ([], [experiment_id])
    assert api.get("/api/experiments?deleted=true").json()["items"][0]["deleted_at"] is not None
    assert api.post(f"{where}/restore").json()["state"] == "succeeded"
    assert (ids(api), ids(api, "?deleted=true")) == ([experiment_id], [])
    assert api.get(f"{where}/result").status_code == 200
    assert api.post(f"{where}/restore").status_code == 200


def test_a_question_submitted_anew_prevents_restoring_the_deleted_one(api: Api) -> None:
    first = api.submit()
    api.delete(f"/api/experiments/{first}")
    second = api.submit()
    assert second != first
    answer = api.post(f"/api/experiments/{first}/restore")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:arithmoscope:problem:not_restorable")


def test_over_the_quota_new_experiments_are_refused_and_existing_ones_returned(config: ApiConfig, store: Store) -> None:
    with Api(replace(config, quota=2), store) as api:
        first = api.submit()
        api.submit(spec("4 + 4 ="))
        refused = api.post("/api/experiments", json=spec("1 + 1 ="))
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:arithmoscope:problem:quota_exceeded")
        assert int(refused.headers["retry-after"]) > 0
        assert api.submit() == first
        finish(store, first)
        assert api.post("/api/experiments", json=spec("1 + 1 =")).status_code == 202


def test_retrying_and_restoring_do_not_bypass_the_quota(config: ApiConfig, store: Store) -> None:
    with Api(replace(config, quota=1), store) as api:
        cancelled = api.submit()
        api.post(f"/api/experiments/{cancelled}/cancel")
        deleted = api.submit(spec("4 + 4 ="))
        api.delete(f"/api/experiments/{deleted}")
        api.submit(spec("1 + 1 ="))
        for path in (f"{cancelled}/retry", f"{deleted}/restore"):
            refused = api.post(f"/api/experiments/{path}")
            assert (refused.status_code, refused.json()["type"]) == (429, "urn:arithmoscope:problem:quota_exceeded")


def test_a_quota_counts_for_each_token_alone(config: ApiConfig, store: Store) -> None:
    with Api(replace(config, quota=1, tokens=("first-token", "second-token")), store) as api:
        one, two = ({"Authorization": f"Bearer {token}"} for token in ("first-token", "second-token"))
        assert api.post("/api/experiments", json=spec(), headers=one).status_code == 202
        assert api.post("/api/experiments", json=spec("4 + 4 ="), headers=one).status_code == 429
        assert api.post("/api/experiments", json=spec("4 + 4 ="), headers=two).status_code == 202


@pytest.mark.parametrize("with_broker", [True, False])
def test_a_reader_of_a_waiting_experiment_that_is_deleted_hears_that_it_will_not_run(
    with_broker: bool, request: pytest.FixtureRequest
) -> None:
    api: Api = request.getfixturevalue("live" if with_broker else "api")
    experiment_id = api.submit()
    with soon(0.3, api.delete, f"/api/experiments/{experiment_id}"):
        read = events(api, experiment_id)
    assert [each.event for each in read] == ["progress", "state"]
    assert read[-1].data == {"state": "cancelled"}


def test_every_address_lists_its_methods_and_head_equals_get_without_a_body(api: Api) -> None:
    experiment_id = api.submit()
    where = f"/api/experiments/{experiment_id}"
    # Also HEAD of a stream that has not ended.
    assert api.head(f"{where}/events").headers["content-type"].startswith("text/event-stream")
    finish(api.store, experiment_id)
    for path in (where, f"{where}/result", f"{where}/events", "/api/health", "/metrics"):
        get, head, options = api.get(path), api.head(path), api.options(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
        assert options.status_code == 204
        assert {"GET", "HEAD"} <= set(options.headers["allow"].split(", "))
    refused = api.put(where, json={})
    assert refused.status_code == 405
    assert refused.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


def test_of_many_identical_concurrent_requests_one_reads_the_prompts(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    read, prepare = [], prompt_reader.prepare

    def slow(*spec: Any) -> Any:
        read.append(spec)
        time.sleep(0.2)
        return prepare(*spec)

    monkeypatch.setattr(prompt_reader, "prepare", slow)
    with ThreadPoolExecutor(20) as people:
        ids = set(people.map(lambda _: api.submit(), range(20)))
    assert (len(ids), len(read)) == (1, 1)


def test_a_request_waiting_for_a_refused_one_is_refused_for_the_same_reason(api: Api) -> None:
    bad = spec("3 +")
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(lambda _: api.post("/api/experiments", json=bad), range(8)))
    assert {answer.status_code for answer in answers} == {422}
    assert len({answer.json()["type"] for answer in answers}) == 1


def test_an_unused_lock_is_dropped_and_other_keys_do_not_wait() -> None:
    lock = KeyedLock()
    with lock.hold("a"), lock.hold("b"):
        assert len(lock) == 2
    with suppress(ValueError), lock.hold("a"):
        raise ValueError
    assert len(lock) == 0
