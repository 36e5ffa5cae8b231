"""From a row to a message: no accepted experiment is lost with the broker."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from store_helpers import Clock, Valkey, files_no_larger_than, on_sqlite, refused, spec_of, valkey_server

from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import EventLog, Store
from arithmoscope.store.clock_watch import ClockWatch
from arithmoscope.store.dispatch import QUEUE, TASK_NAME, Dispatcher, broker_url
from arithmoscope.store.outbox import BrokerDown, Outbox
from benchmarks.patience import patience


@pytest.fixture
def dispatcher(valkey: Valkey) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(valkey.url)
    yield dispatcher
    dispatcher.close()


def messages(valkey: Valkey) -> list[tuple[str, list]]:
    """The task and arguments of every queued message."""
    with redis.Redis.from_url(valkey.url) as client:
        waiting = [json.loads(each) for key in client.keys(f"{QUEUE}*") for each in client.lrange(key, 0, -1)]
    return [(each["headers"]["task"], json.loads(base64.b64decode(each["body"]))[0]) for each in waiting]


@pytest.mark.parametrize(
    ("url", "kombus"),
    [
        ("unix:///run/a.sock", "redis+socket:///run/a.sock"),
        ("unix:///run/a b#%?/ü.sock?db=1", "redis+socket:///run/a%20b%23%25%3F/%C3%BC.sock?db=1"),
        ("unix://:secret@/run/a.sock", "redis+socket://:secret@/run/a.sock"),
        ("redis://:secret@host:6379/1", "redis://:secret@host:6379/1"),
        ("rediss://host/0", "rediss://host/0"),
    ],
)
def test_one_form_of_the_url_serves_both_libraries(url: str, kombus: str) -> None:
    assert broker_url(url) == kombus


def test_a_socket_in_a_folder_of_any_name_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("v") / "a b#ü%20?"
    folder.mkdir()
    with valkey_server(folder) as server:
        dispatcher, log = Dispatcher(server.url), EventLog(server.url)
        dispatcher.send("a", 1, 5)
        log.publish("a", "progress", {"done": 1})
        with redis.Redis(unix_socket_path=server.url.removeprefix("unix://")) as client:
            assert len(client.keys(f"{QUEUE}*")) == 2
        dispatcher.close()
        log.close()


def test_a_message_carries_the_id_and_the_attempt_only(dispatcher: Dispatcher, valkey: Valkey) -> None:
    dispatcher.send("some-id", 3, 5)
    assert messages(valkey) == [(TASK_NAME, ["some-id", 3])]


def test_a_dead_broker_is_reported_at_once_and_a_new_one_is_used(dispatcher: Dispatcher, valkey: Valkey) -> None:
    dispatcher.send("a", 1, 5)
    valkey.kill()
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(BrokerDown):
            dispatcher.send("b", 1, 5)
        assert time.monotonic() - started < 1 * patience()
    valkey.start()
    dispatcher.send("c", 1, 5)
    assert messages(valkey) == [(TASK_NAME, ["c", 1])]


def test_a_frozen_broker_is_given_up(dispatcher: Dispatcher, valkey: Valkey) -> None:
    dispatcher.send("a", 1, 5)
    assert valkey.process is not None
    os.kill(valkey.process.pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(BrokerDown):
            dispatcher.send("b", 1, 5)
        took = time.monotonic() - started
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    assert took < 2 * patience()


def test_a_host_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dispatcher = Dispatcher(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        with pytest.raises(BrokerDown):
            dispatcher.send("a", 1, 5)
        assert time.monotonic() - started < 2 * patience()
        dispatcher.close()


def test_what_is_queued_is_sent_once(store: Store, dispatcher: Dispatcher, valkey: Valkey) -> None:
    outbox = Outbox(store, dispatcher.send)
    experiment, _ = store.submit(spec_of(), key="k")
    assert outbox.run_once() == 1
    assert outbox.run_once() == 0
    assert messages(valkey) == [(TASK_NAME, [experiment.id, 1])]


def test_a_submit_while_the_broker_is_down_is_sent_when_it_is_back(
    store: Store, dispatcher: Dispatcher, valkey: Valkey
) -> None:
    outbox = Outbox(store, dispatcher.send)
    valkey.kill()
    ids = {store.submit(spec_of(), key=str(n))[0].id for n in range(3)}
    assert outbox.run_once() == 0
    valkey.start()
    assert outbox.run_once() == 3
    assert {args[0] for _, args in messages(valkey)} == ids


def test_what_an_emptied_broker_forgot_is_sent_again_at_once(
    store: Store, dispatcher: Dispatcher, valkey: Valkey
) -> None:
    outbox = Outbox(store, dispatcher.send, marker=dispatcher)
    waiting = store.submit(spec_of(), key="waits")[0].id
    running = store.submit(spec_of(), key="runs")[0].id
    assert outbox.run_once() == 2
    assert store.claim(running, 1, owner="w", lease_s=60) is not None
    assert outbox.run_once() == 0
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    assert outbox.run_once() == 1
    assert messages(valkey) == [(TASK_NAME, [waiting, 1])]
    assert outbox.run_once() == 0


@pytest.mark.parametrize("kept", [True, False])
def test_a_broker_that_was_started_again_may_have_lost_the_last_of_it(
    store: Store, dispatcher: Dispatcher, valkey: Valkey, kept: bool
) -> None:
    Outbox(store, dispatcher.send, marker=dispatcher).run_once()
    with redis.Redis.from_url(valkey.url) as client:
        if kept:  # its data on disk is slightly older, with the mark
            client.save()
        experiment, _ = store.submit(spec_of(), key="k")
        Outbox(store, dispatcher.send, marker=dispatcher).run_once()
    valkey.kill()
    valkey.start()
    assert messages(valkey) == []
    # Neither this API process nor another one remembers the previous broker.
    assert Outbox(store, dispatcher.send, marker=dispatcher).run_once() == 1
    assert messages(valkey) == [(TASK_NAME, [experiment.id, 1])]
    assert Outbox(store, dispatcher.send, marker=dispatcher).run_once() == 0


def test_what_any_broker_forgot_is_sent_again_as_soon_as_a_worker_stands_idle(
    store: Store, dispatcher: Dispatcher, valkey: Valkey, clock: Clock
) -> None:
    outbox = Outbox(store, dispatcher.send, marker=dispatcher)
    experiment, _ = store.submit(spec_of(), key="k")
    outbox.run_once()
    with redis.Redis.from_url(valkey.url) as client:
        for key in client.keys(f"{QUEUE}*"):
            client.delete(key)
    clock.now += 31
    store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=False))
    outbox.run_once()
    assert messages(valkey) == [(TASK_NAME, [experiment.id, 1])]


def test_a_long_line_is_sent_in_one_go_in_the_order_of_its_turns(store: Store, clock: Clock) -> None:
    requested = []
    for number in range(250):
        requested.append(store.submit(spec_of(), key=str(number))[0].id)
        clock.now += 0.001
    sent: list[str] = []
    outbox = Outbox(store, lambda name, *_: sent.append(name))
    assert outbox.run_once() == 250
    assert sent == requested
    assert outbox.run_once() == 0


def test_a_broker_that_dies_in_the_middle_has_what_it_took(store: Store) -> None:
    for number in range(5):
        store.submit(spec_of(), key=str(number))
    sent: list[str] = []

    def send(experiment_id: str, *_: int) -> None:
        if len(sent) == 3:
            raise BrokerDown("gone")
        sent.append(experiment_id)

    outbox = Outbox(store, send)
    outbox.run_once()
    assert not {each.id for each in store.unsent()} & set(sent)
    assert len(store.unsent()) == 2


@on_sqlite
def test_a_full_disk_does_not_fill_the_broker_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.submit(spec_of(), key="k")
    sent: list[str] = []
    outbox = Outbox(store, lambda name, *_: sent.append(name))
    with files_no_larger_than(4096):
        for _ in range(3):
            with refused("store_unavailable"):
                outbox.run_once()
    assert len(sent) == 1
    assert outbox.run_once() == 0
    assert store.unsent() == []


def test_leases_are_left_alone_until_they_are_renewed_by_a_clock_that_was_set(store: Store, clock: Clock) -> None:
    steady = Clock()
    outbox = Outbox(store, lambda *_: None, clock_watch=ClockWatch(clock, steady))

    def pass_time(seconds: float) -> None:
        clock.now += seconds
        steady.now += seconds

    for jump in (3600.0, -3600.0):
        alive, dead = (store.submit(spec_of(), key=f"{jump} {n}")[0].id for n in range(2))
        claims = [store.claim(each, 1, owner="w", lease_s=7) for each in (alive, dead)]
        assert claims[0] is not None
        outbox.run_once()
        clock.now += jump
        outbox.run_once()
        pass_time(1.5)
        store.renew(claims[0], 7)
        outbox.run_once()
        assert store.counts()[0] == 2, "both may still be alive"
        pass_time(3)
        store.renew(claims[0], 7)
        outbox.run_once()
        assert [store.experiment(each).state for each in (alive, dead)] == ["running", "queued"]
        store.succeed(claims[0], {})
        store.delete(dead)
        pass_time(10)


def test_a_lost_lease_is_sent_as_a_new_attempt(
    store: Store, dispatcher: Dispatcher, valkey: Valkey, clock: Clock
) -> None:
    outbox = Outbox(store, dispatcher.send)
    experiment, _ = store.submit(spec_of(), key="k")
    assert store.claim(experiment.id, 1, owner="w", lease_s=10) is not None
    assert outbox.run_once() == 0
    clock.now += 11
    assert outbox.run_once() == 1
    assert messages(valkey) == [(TASK_NAME, [experiment.id, 2])]


def test_readers_are_told_when_a_lost_job_ends(store: Store, clock: Clock) -> None:
    messages_sent = []
    outbox = Outbox(store, lambda *_: None, lambda *event: messages_sent.append(event))
    experiment, _ = store.submit(spec_of(), key="k")
    for attempt in (1, 2, 3):
        assert store.claim(experiment.id, attempt, owner="w", lease_s=10) is not None
        clock.now += 11
        outbox.run_once()
    assert messages_sent == [(experiment.id, "state", {"state": "failed"})]


def test_a_nudge_is_heeded_at_once_and_the_thread_outlives_what_breaks(store: Store) -> None:
    sent, arrived = [], threading.Event()

    def send(experiment_id: str, attempt: int, _priority: int) -> None:
        if not sent:
            sent.append("broken")
            raise ValueError("never seen before")
        sent.append((experiment_id, attempt))
        arrived.set()

    outbox = Outbox(store, send, every_s=60)
    outbox.start()
    time.sleep(0.1)
    experiment, _ = store.submit(spec_of(), key="k")
    outbox.nudge()
    deadline = time.monotonic() + 10 * patience()
    while not sent and time.monotonic() < deadline:
        time.sleep(0.01)
    outbox.nudge()
    assert arrived.wait(10 * patience())
    outbox.stop()
    assert sent == ["broken", (experiment.id, 1)]
