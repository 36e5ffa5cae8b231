"""The event stream, on a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
import redis
from store_helpers import Valkey

from arithmoscope.store import AsyncEventLog, EventLog, EventsDown
from arithmoscope.store.events import MAX_EVENTS
from benchmarks.patience import patience


def read(url: str, after: str | None = None, block_ms: int = 0):
    async def reading():
        log = AsyncEventLog(url)
        try:
            return await log.read("e", after, block_ms)
        finally:
            await log.close()

    return asyncio.run(reading())


def test_events_come_in_order_and_a_reader_goes_on_where_it_was(valkey: Valkey) -> None:
    log = EventLog(valkey.url)
    for done in range(3):
        log.publish("e", "progress", {"done": done})
    log.publish("other", "progress", {"done": 9})
    first = read(valkey.url)
    assert [(each.event, each.data) for each in first] == [("progress", {"done": n}) for n in range(3)]
    log.publish("e", "state", {"state": "succeeded"})
    (last,) = read(valkey.url, after=first[-1].id)
    assert (last.event, last.data) == ("state", {"state": "succeeded"})
    assert read(valkey.url, after=last.id) == []
    log.close()


def test_a_blocking_read_wakes_up_at_the_event(valkey: Valkey) -> None:
    async def waiting():
        log, speaker = AsyncEventLog(valkey.url), EventLog(valkey.url)
        started = time.monotonic()
        reading = asyncio.create_task(log.read("e", None, 20_000))
        await asyncio.sleep(0.1)
        speaker.publish("e", "progress", {"done": 1})
        events = await reading
        speaker.close()
        await log.close()
        return events, time.monotonic() - started

    events, took = asyncio.run(waiting())
    assert [each.data for each in events] == [{"done": 1}]
    assert took < 5 * patience()


def test_a_blocking_read_without_events_ends_in_its_time(valkey: Valkey) -> None:
    started = time.monotonic()
    assert read(valkey.url, block_ms=100) == []
    assert 0.05 < time.monotonic() - started < 5 * patience()


@pytest.mark.parametrize("after", ["", "nonsense", "$", "1-2-3", "-1", "9" * 40, "9" * 20, "1-" + "9" * 20])
def test_an_id_that_was_never_given_reads_from_the_beginning(valkey: Valkey, after: str) -> None:
    log = EventLog(valkey.url)
    log.publish("e", "progress", {"done": 1})
    assert len(read(valkey.url, after=after)) == 1
    log.close()


def test_a_stream_is_capped_and_expires(valkey: Valkey) -> None:
    log = EventLog(valkey.url)
    for done in range(MAX_EVENTS + 300):
        log.publish("e", "progress", {"done": done})
    events = read(valkey.url)
    assert MAX_EVENTS <= len(events) < MAX_EVENTS + 200
    assert events[-1].data == {"done": MAX_EVENTS + 299}
    with redis.Redis.from_url(valkey.url) as client:
        (key,) = client.keys("*")
        assert 3500 < client.ttl(key) <= 3600
        log.publish("e", "state", {"state": "succeeded"})
        assert 0 < client.ttl(key) <= 60
    log.close()


def test_only_the_newest_partial_is_kept(valkey: Valkey) -> None:
    log = EventLog(valkey.url)
    for n in range(3):
        log.publish("e", "progress", {"done": n})
        log.publish("e", "partial", {"n_pairs": n})
    assert [each.data for each in read(valkey.url) if each.event == "partial"] == [{"n_pairs": 2}]
    assert len(read(valkey.url)) == 4
    log.close()


def test_a_cleared_stream_is_empty_and_its_old_ids_still_read_what_comes(valkey: Valkey) -> None:
    log = EventLog(valkey.url)
    log.publish("e", "state", {"state": "failed"})
    (old,) = read(valkey.url)
    log.clear("e")
    assert read(valkey.url) == []
    log.publish("e", "progress", {"done": 1})
    assert [each.event for each in read(valkey.url, after=old.id)] == ["progress"]
    log.close()


def test_publishing_survives_a_broken_server_and_costs_no_time(valkey: Valkey) -> None:
    log = EventLog(valkey.url)
    log.publish("e", "progress", {"done": 1})
    valkey.kill()
    started = time.monotonic()
    for done in range(1000):
        log.publish("e", "progress", {"done": done})
    log.clear("e")
    assert time.monotonic() - started < 3 * patience()
    with pytest.raises(EventsDown):
        read(valkey.url)
    valkey.start()
    log.close()


def test_publishing_to_a_frozen_server_is_given_up(valkey: Valkey) -> None:
    log = EventLog(valkey.url)
    log.publish("e", "progress", {"done": 1})
    assert valkey.process is not None
    os.kill(valkey.process.pid, signal.SIGSTOP)
    started = time.monotonic()
    log.publish("e", "progress", {"done": 2})
    log.publish("e", "progress", {"done": 3})
    took = time.monotonic() - started
    os.kill(valkey.process.pid, signal.SIGCONT)
    log.close()
    assert took < 4 * patience()


def test_an_id_is_known_up_to_the_newest_of_its_stream(valkey: Valkey) -> None:
    log = EventLog(valkey.url)
    for done in range(2):
        log.publish("e", "progress", {"done": done})
    log.close()
    first, last = read(valkey.url)

    async def known() -> list[str | None]:
        log = AsyncEventLog(valkey.url)
        assert await log.is_up()
        beyond = f"{int(last.id.partition('-')[0]) + 1}-0"
        positions = ["e", first.id], ["e", last.id], ["e", beyond], ["e", "9" * 20], ["e", "x"], ["other", last.id]
        points = [await log.resume_point(*each) for each in positions]
        valkey.kill()
        assert not await log.is_up()
        with pytest.raises(EventsDown):
            await log.resume_point("e", last.id)
        await log.close()
        return points

    assert asyncio.run(known()) == [first.id, last.id, None, None, None, None]
