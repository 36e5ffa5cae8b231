"""The models on offer, and the live workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from store_helpers import CARD, Clock

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Store


def test_a_registered_model_is_known_with_its_tokenizer(store: Store) -> None:
    store.register_model(CARD, '{"version": "1.0"}')
    assert store.models() == [CARD]
    assert store.model("tiny") == CARD
    assert store.tokenizer_json("tiny") == '{"version": "1.0"}'


def test_registering_again_replaces(store: Store) -> None:
    store.register_model(CARD, "old")
    newer = CARD.model_copy(update={"revision": "def"})
    store.register_model(newer, "new")
    assert store.models() == [newer]
    assert store.tokenizer_json("tiny") == "new"


def test_an_unknown_model_and_a_missing_tokenizer_are_told_apart(store: Store) -> None:
    store.register_model(CARD, None)
    for look, code in (
        (lambda: store.model("other"), "unknown_model"),
        (lambda: store.tokenizer_json("other"), "unknown_model"),
        (lambda: store.tokenizer_json("tiny"), "bad_tokenizer"),
    ):
        with pytest.raises(Refusal) as refusal:
            look()
        assert refusal.value.code == code


@pytest.mark.parametrize("chat", [ChatFrame(before="<s>", reply="", next=" ", after="\n"), "It loops.", None])
def test_a_chat_template_is_known_by_what_it_writes_or_why_it_cannot(
    store: Store, chat: ChatFrame | str | None
) -> None:
    store.register_model(CARD, None, chat)
    assert store.chat("tiny") == chat
    store.register_model(CARD, None)
    assert store.chat("tiny") is None
    with pytest.raises(Refusal) as refusal:
        store.chat("other")
    assert refusal.value.code == "unknown_model"


def test_a_worker_is_alive_as_long_as_it_beats(store: Store, clock: Clock) -> None:
    idle = WorkerStatus(id="w", device="cpu", models=(), busy=False)
    busy = WorkerStatus(id="w", device="cpu", models=("tiny",), busy=True)
    store.record_heartbeat(idle)
    store.record_heartbeat(busy)
    assert store.workers() == [busy]
    clock.now += 21
    assert store.workers() == []
    assert store.workers(within_s=60) == [busy]
    store.record_heartbeat(idle)
    assert store.workers() == [idle]
    store.remove_worker("w")
    assert store.workers() == []


def test_workers_that_are_long_gone_are_forgotten(store: Store, clock: Clock) -> None:
    store.record_heartbeat(WorkerStatus(id="old", device="cpu", models=(), busy=False))
    clock.now += 100_000
    store.record_heartbeat(WorkerStatus(id="new", device="cpu", models=(), busy=False))
    assert [each.id for each in store.workers(within_s=1e9)] == ["new"]


def test_a_worker_that_beats_twice_at_once_for_the_first_time_is_one_worker(store: Store) -> None:
    status = WorkerStatus(id="w", device="cpu", models=(), busy=False)
    with ThreadPoolExecutor(1) as pool:
        with store._database.write() as connection:
            connection.execute(text("INSERT INTO workers (id, status, seen_at) VALUES ('w', '{}', 0)"))
            beating = pool.submit(store.record_heartbeat, status)
            with pytest.raises(TimeoutError):
                beating.result(0.5)
        beating.result(10)
    assert store.workers() == [status]
