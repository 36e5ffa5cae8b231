"""Tests of live events: read once, sent to all readers in order, the state last, even when broker or store fail."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import redis
from api_helpers import sse
from arithmoscope_api import event_hub
from arithmoscope_api.event_hub import BUFFERED_EVENTS
from event_hub_helpers import bench, done, own_broker, run, until

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.store import Store

MANY = 200


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine an answer may take longer than a stopped broker is given; no event may be missing for that."""
    monkeypatch.setattr(event_hub, "STUCK_S", 60.0)


def test_two_hundred_readers_get_every_event_in_order_for_one_read_at_a_time(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            hub_bench.publish_progress(experiment_id, 0)
            readers = [asyncio.create_task(hub_bench.read(experiment_id)) for _ in range(MANY)]
            await until(lambda: hub_bench.hub.readers == MANY)
            for number in range(1, 40):
                hub_bench.publish_progress(experiment_id, number)
                await asyncio.sleep(0.005)
            before, begun = len(hub_bench.read_sizes), time.monotonic()
            await asyncio.sleep(1.2)
            assert len(hub_bench.read_sizes) - before <= 2 + (time.monotonic() - begun) / event_hub.POLL_S
            store.succeed(claim, {"result.json": b"{}"})
            hub_bench.publish_progress(experiment_id, 40)
            for read in await asyncio.gather(*readers):
                assert done(read) == list(range(41))
                assert (read[-1].event, read[-1].data) == ("state", {"state": "succeeded"})
            assert (hub_bench.hub.readers, hub_bench.hub.watched) == (0, 0)

    run(body)


def test_two_hundred_watched_experiments_share_one_read_and_one_look(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            ids = [hub_bench.submit(str(number)) for number in range(MANY)]
            claims = {experiment_id: hub_bench.begin(experiment_id) for experiment_id in ids}
            readers = {each: asyncio.create_task(hub_bench.read(each)) for each in ids}
            await until(lambda: hub_bench.hub.watched == MANY and hub_bench.joined() and MANY in hub_bench.read_sizes)
            with redis.Redis.from_url(redis_url) as client:
                waiting = [each for each in client.client_list() if "b" in each["flags"]]
            assert len(waiting) <= 1

            def work() -> None:
                for number, experiment_id in enumerate(ids):
                    hub_bench.publish_progress(experiment_id, 1000 + number)
                for claim in claims.values():
                    store.fail(claim, Refusal("out_of_memory", "None left.").details())

            await asyncio.to_thread(work)  # in the loop's own thread, 200 writes would hold up the hub's reads
            for number, reader in enumerate(readers.values()):
                read = await reader
                assert done(read)[-1] == 1000 + number
                assert read[-1].data == {"state": "failed"}

    run(body)


def test_a_slow_reader_costs_no_memory_delays_no_other_and_misses_nothing(store: Store, redis_url: str) -> None:
    many = BUFFERED_EVENTS * 3

    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            hub_bench.publish_progress(experiment_id, 0)
            slow = hub_bench.follow(experiment_id)
            first = await anext(slow)
            quick = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.readers == 2)
            for number in range(1, many):
                hub_bench.publish_progress(experiment_id, number)
            (channel,) = hub_bench.hub._channels.values()
            await until(lambda: channel.number >= many - 1)
            assert len(channel.buffer) == BUFFERED_EVENTS
            store.succeed(claim, {"result.json": b"{}"})
            assert done(await quick) == list(range(many))
            rest = b"".join([frame async for frame in slow])
            assert done(sse((first + rest).decode())) == list(range(many))
            assert sse(rest.decode())[-1].event == "state"

    run(body)


def test_only_the_newest_partial_is_kept(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            assert hub_bench.publisher is not None
            reader = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.watched == 1 and hub_bench.joined())
            for number in range(20):
                hub_bench.publisher.publish(experiment_id, "partial", {"n_pairs": number})
                await asyncio.sleep(0.03)
            (channel,) = hub_bench.hub._channels.values()
            await until(lambda: bool(channel.buffer))
            assert len([event for event in channel.buffer if event.name == "partial"]) == 1
            store.succeed(claim, {"result.json": b"{}"})
            assert (await reader)[-2].data == {"n_pairs": 19}

    run(body)


def test_a_reader_who_comes_back_among_many_goes_on_where_it_was(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            for number in range(5):
                hub_bench.publish_progress(experiment_id, number)
            stays = asyncio.create_task(hub_bench.read(experiment_id))
            leaves = hub_bench.follow(experiment_id)
            seen = sse((await anext(leaves)).decode())
            await leaves.aclose()
            await until(lambda: hub_bench.hub.readers == 1)
            hub_bench.publish_progress(experiment_id, 5)
            back = asyncio.create_task(hub_bench.read(experiment_id, seen[2].id))
            await until(lambda: hub_bench.hub.readers == 2)
            store.succeed(claim, {"result.json": b"{}"})
            assert done(await back) == [3, 4, 5]
            assert done(await stays) == [0, 1, 2, 3, 4, 5]

    run(body)


def test_a_broker_that_is_frozen_costs_the_live_view_and_no_reader(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "STUCK_S", 0.3)

    async def body() -> None:
        with own_broker(tmp_path) as (url, process):
            async with bench(store, url) as hub_bench:
                experiment_id = hub_bench.submit()
                claim = hub_bench.begin(experiment_id)
                readers = [asyncio.create_task(hub_bench.read(experiment_id)) for _ in range(20)]
                await until(lambda: hub_bench.hub.readers == 20 and hub_bench.joined())
                (channel,) = hub_bench.hub._channels.values()
                os.kill(process, signal.SIGSTOP)
                await until(lambda: not hub_bench.hub._up)
                store.save_progress(claim, Progress(stage="pairs", done=7, total=9))
                await until(lambda: channel.last_progress["done"] == 7)
                late = asyncio.create_task(hub_bench.read(experiment_id))
                await until(lambda: hub_bench.hub.readers == 21)
                store.succeed(claim, {"result.json": b"{}"})
                for read in await asyncio.gather(*readers, late):
                    assert done(read)[-1] == 7
                    assert read[-1].data == {"state": "succeeded"}

    run(body)


def test_events_published_after_the_broker_was_emptied_are_received(store: Store, tmp_path: Path) -> None:
    async def body() -> None:
        with own_broker(tmp_path) as (url, _):
            async with bench(store, url) as hub_bench:
                experiment_id = hub_bench.submit()
                claim = hub_bench.begin(experiment_id)
                hub_bench.publish_progress(experiment_id, 1)
                reader = asyncio.create_task(hub_bench.read(experiment_id))
                await until(lambda: hub_bench.hub.watched == 1 and hub_bench.joined())
                with redis.Redis.from_url(url) as client:
                    client.flushall()
                hub_bench.publish_progress(experiment_id, 2)
                store.succeed(claim, {"result.json": b"{}"})
                assert done(await reader) == [1, 2]

    run(body)


def test_a_worker_that_cannot_reach_the_broker_is_followed_by_its_row(
    store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hub, "SILENT_S", 0.2)

    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            hub_bench.publish_progress(experiment_id, 1)
            reader = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.watched == 1 and hub_bench.joined())
            (channel,) = hub_bench.hub._channels.values()
            store.save_progress(claim, Progress(stage="pairs", done=5, total=9))
            await until(lambda: channel.last_progress["done"] == 5)
            store.succeed(claim, {"result.json": b"{}"})
            assert done(await reader) == [1, 5]

    run(body)


def test_a_store_that_is_away_for_a_while_costs_no_reader(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            reader = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.readers == 1)
            hub_bench.broken = True
            before = len(hub_bench.read_sizes)
            await until(lambda: len(hub_bench.read_sizes) > before + 1)
            store.succeed(claim, {"result.json": b"{}"})
            hub_bench.broken = False
            assert (await reader)[-1].data == {"state": "succeeded"}

    run(body)


def test_an_experiment_that_runs_again_is_followed_anew(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            first = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.readers == 1)
            store.fail(claim, Refusal("out_of_memory", "None left.").details())
            assert (await first)[-1].data == {"state": "failed"}
            again = store.retry(experiment_id)
            second = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.readers == 1)
            store.succeed(hub_bench.begin(experiment_id, again.attempt), {"result.json": b"{}"})
            assert (await second)[-1].data == {"state": "succeeded"}

    run(body)


def test_a_reader_of_a_requeued_experiment_gets_its_queued_state(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            assert hub_bench.publisher is not None
            hub_bench.publisher.publish(experiment_id, "progress", {"stage": "pairs", "done": 24, "total": 64})
            assert store.release(claim) == "queued"
            reader = hub_bench.follow(experiment_id)
            first = sse((await anext(reader)).decode())
            await reader.aclose()
            assert [each.data["stage"] for each in first] == ["pairs", "queued"]

    run(body)


def test_a_reader_of_a_retried_experiment_does_not_get_its_earlier_final_state(store: Store, redis_url: str) -> None:
    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            claim = hub_bench.begin(experiment_id)
            early = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.watched == 1 and hub_bench.joined())
            looked, resume = threading.Event(), threading.Event()

            def hold() -> None:
                hub_bench.after_read = None
                looked.set()
                resume.wait(20)

            store.fail(claim, Refusal("out_of_memory", "None left.").details())
            hub_bench.after_read = hold
            await until(looked.is_set)
            again = store.retry(experiment_id)
            late = asyncio.create_task(hub_bench.read(experiment_id))
            await until(lambda: hub_bench.hub.readers == 2)
            before = len(hub_bench.read_sizes)
            resume.set()
            await until(lambda: len(hub_bench.read_sizes) > before or late.done())
            store.succeed(hub_bench.begin(experiment_id, again.attempt), {"result.json": b"{}"})
            assert (await late)[-1].data == {"state": "succeeded"}
            assert (await early)[-1].data == {"state": "succeeded"}

    run(body)


def test_a_reader_that_fell_behind_gets_the_stored_state_while_the_broker_is_gone(store: Store, tmp_path: Path) -> None:
    many = BUFFERED_EVENTS * 2

    async def body() -> None:
        with own_broker(tmp_path) as (url, process):
            async with bench(store, url) as hub_bench:
                experiment_id = hub_bench.submit()
                claim = hub_bench.begin(experiment_id)
                hub_bench.publish_progress(experiment_id, 0)
                slow = hub_bench.follow(experiment_id)
                await anext(slow)
                for number in range(1, many):
                    hub_bench.publish_progress(experiment_id, number)
                (channel,) = hub_bench.hub._channels.values()
                await until(lambda: channel.number >= many - 1)
                os.kill(process, signal.SIGKILL)
                await until(lambda: not hub_bench.hub._up)
                store.succeed(claim, {"result.json": b"{}"})
                rest = sse(b"".join([frame async for frame in slow]).decode())
                # The row was sent, too: it replaced one of them.
                assert set(range(many - BUFFERED_EVENTS + 4, many)) <= set(done(rest))
                assert rest[-1].data == {"state": "succeeded"}

    run(body)


def test_without_readers_nothing_is_read(store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hub, "POLL_S", 0.05)

    async def body() -> None:
        async with bench(store, redis_url) as hub_bench:
            experiment_id = hub_bench.submit()
            reader = hub_bench.follow(experiment_id)
            await anext(reader)
            await reader.aclose()
            assert (hub_bench.hub.readers, hub_bench.hub.watched) == (0, 0)
            await asyncio.sleep(0.1)  # a read that had begun
            before = len(hub_bench.read_sizes)
            await asyncio.sleep(0.3)
            assert len(hub_bench.read_sizes) == before

    run(body)


def test_an_estimate_of_the_wait_is_sent_again_only_if_it_changed() -> None:
    waiting = Progress(queue_position=2, eta_s=100.0).model_dump(mode="json")
    assert not event_hub._differs({**waiting, "eta_s": 99.0}, waiting)
    assert event_hub._differs({**waiting, "eta_s": 80.0}, waiting)
    assert event_hub._differs({**waiting, "queue_position": 1}, waiting)
    assert event_hub._differs({**waiting, "eta_s": None}, waiting)
