"""Tests of server-sent events: resumable, ended by the state, and available with or without a broker."""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Timer

import pytest
from api_helpers import Api, Sse, events, finish, soon
from arithmoscope_api.config import ApiConfig

from arithmoscope.contracts.experiments import Progress
from arithmoscope.store import EventLog, Store
from benchmarks.patience import patience


def test_a_reader_gets_every_event_and_the_state_last(live: Api, redis_url: str) -> None:
    experiment_id = live.submit()
    log = EventLog(redis_url)
    log.publish(experiment_id, "progress", {"done": 1})
    log.publish(experiment_id, "partial", {"n_pairs": 1})
    finish(live.store, experiment_id)
    log.publish(experiment_id, "state", {"state": "succeeded"})
    log.close()
    read = events(live, experiment_id)
    assert [each.event for each in read] == ["progress", "partial", "state"]
    assert read[-1].data == {"state": "succeeded"}
    assert read[0].data == {"done": 1}


def test_a_reader_who_lost_the_connection_goes_on_where_it_was(live: Api, redis_url: str) -> None:
    experiment_id = live.submit()
    log = EventLog(redis_url)
    for done in range(3):
        log.publish(experiment_id, "progress", {"done": done})
    log.close()
    finish(live.store, experiment_id)
    everything = events(live, experiment_id)
    rest = events(live, experiment_id, after=everything[1].id)
    assert [each.data for each in rest] == [{"done": 2}, {"state": "succeeded"}]
    nonsense = events(live, experiment_id, after="not-an-id")
    assert nonsense == everything


def test_a_reader_who_joins_a_running_job_hears_of_it_in_order(live: Api, redis_url: str) -> None:
    experiment_id = live.submit()
    claim = live.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    log = EventLog(redis_url)
    for done in range(3):
        log.publish(experiment_id, "progress", {"done": done})
    log.close()
    live.store.save_progress(claim, Progress(stage="pairs", done=2, total=9))
    with soon(0.4, live.store.succeed, claim, {"result.json": b"{}"}):
        read = events(live, experiment_id)
    assert [each.data.get("done") for each in read] == [0, 1, 2, None]


def test_a_reader_who_joins_where_the_stream_is_empty_hears_how_far_the_row_is(live: Api) -> None:
    experiment_id = live.submit()
    claim = live.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    live.store.save_progress(claim, Progress(stage="pairs", done=2, total=9))
    with soon(0.4, live.store.succeed, claim, {"result.json": b"{}"}):
        read = events(live, experiment_id)
    assert [each.data.get("done") for each in read] == [2, None]


@pytest.mark.parametrize("after", ["9" * 20, "9" * 13 + "-0", f"{2**64 - 1}-{2**64 - 1}"])
def test_an_event_that_never_was_does_not_cost_the_live_view(live: Api, redis_url: str, after: str) -> None:
    experiment_id = live.submit()
    claim = live.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    log = EventLog(redis_url)
    log.publish(experiment_id, "progress", {"done": 1})
    with (
        soon(0.3, log.publish, experiment_id, "progress", {"done": 2}),
        soon(0.6, live.store.succeed, claim, {"result.json": b"{}"}),
    ):
        read = events(live, experiment_id, after=after)
    log.close()
    assert [each.data.get("done") for each in read] == [1, 2, None]


def test_an_expired_stream_gives_the_final_state_from_the_row(live: Api) -> None:
    experiment_id = live.submit()
    finish(live.store, experiment_id)
    assert events(live, experiment_id) == [Sse(None, "state", {"state": "succeeded"})]


def test_a_state_of_an_earlier_attempt_does_not_end_the_stream(live: Api, redis_url: str) -> None:
    experiment_id = live.submit()
    log = EventLog(redis_url)
    log.publish(experiment_id, "state", {"state": "cancelled"})
    log.close()
    end = Timer(0.5, finish, (live.store, experiment_id))
    end.start()
    read = events(live, experiment_id)
    end.join()
    assert [each.data.get("state") for each in read if each.event == "state"] == ["succeeded"]


def test_without_a_broker_the_row_is_read_and_the_state_still_comes_last(api: Api) -> None:
    experiment_id = api.submit()

    def work() -> None:
        claim = api.store.claim(experiment_id, 1, owner="w", lease_s=60)
        assert claim is not None
        api.store.save_progress(claim, Progress(stage="pairs", done=1, total=2))
        time.sleep(0.8)
        api.store.succeed(claim, {"result.json": b"{}"})

    Timer(0.2, work).start()
    read = events(api, experiment_id)
    assert [each.event for each in read] == ["progress", "progress", "state"]
    assert (read[1].data["stage"], read[1].data["done"]) == ("pairs", 1)
    assert read[-1].data == {"state": "succeeded"}


def test_a_broker_that_is_gone_costs_the_live_view_and_nothing_else(config: ApiConfig, store: Store) -> None:
    with Api(replace(config, redis_url="unix:///nonexistent/redis.sock"), store) as api:
        started = time.perf_counter()
        experiment_id = api.submit()
        assert time.perf_counter() - started < 1 * patience()
        health = api.get("/api/health").json()
        assert (health["status"], health["broker"], health["waiting"]) == ("degraded", "down", 1)
        finish(store, experiment_id)
        assert [each.event for each in events(api, experiment_id)] == ["state"]


def test_a_reader_of_a_waiting_experiment_hears_of_its_cancellation(live: Api) -> None:
    experiment_id = live.submit()
    Timer(0.3, lambda: live.post(f"/api/experiments/{experiment_id}/cancel")).start()
    read = events(live, experiment_id)
    assert [each.event for each in read] == ["progress", "state"]
    assert read[-1].data == {"state": "cancelled"}
