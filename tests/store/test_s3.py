"""A store whose artifacts are in an S3-compatible service, configured by environment variables."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from moto.server import ThreadedMotoServer
from store_helpers import Clock, finish, refused, spec_of

from arithmoscope.store import UNDO_S, Store
from arithmoscope.store.blobs import Blobs
from arithmoscope.store.garbage_collection import Collected


@pytest.fixture
def urls(urls: tuple[str, str], bucket: str) -> tuple[str, str]:
    return urls[0], bucket


@pytest.fixture
def small(urls: tuple[str, str], store: Store, clock: Clock) -> Iterator[Store]:
    with Store.open(*urls, budget=10_000, clock=clock) as small:
        yield small


def test_an_experiment_is_worked_on_lost_and_finished(store: Store) -> None:
    experiment_id = store.submit(spec_of(), key="k")[0].id
    claim = store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    store.save_chunk(claim, 0, b"first")
    store.save_chunk(claim, 1, b"second")
    store.reap(owner="w")
    assert store.chunks(experiment_id) == {0: b"first", 1: b"second"}
    claim = store.claim(experiment_id, 2, owner="w", lease_s=60)
    assert claim is not None
    store.succeed(claim, {"result.json": b"{}", "arrays.npz": b"\0" * 1000})
    assert store.read_artifact(experiment_id, "result.json") == b"{}"
    with store.open_artifact(experiment_id, "arrays.npz") as file:
        file.seek(990)
        assert file.read() == b"\0" * 10
    assert len(list(store._blobs.files())) == 2, "its chunks are gone"


def test_a_lost_result_is_computed_again(store: Store) -> None:
    experiment_id = store.submit(spec_of(), key="k")[0].id
    finish(store, experiment_id)
    store._blobs.remove(experiment_id)
    with refused("no_result"):
        store.read_artifact(experiment_id, "result.json")
    assert store.retry(experiment_id).state == "queued"


def test_what_nothing_refers_to_is_thrown_away_and_nothing_else(store: Store, clock: Clock) -> None:
    """The tests' clock is years ahead, so every file is old."""
    kept, gone, busy = (store.submit(spec_of(), key=str(n))[0].id for n in range(3))
    for each in (kept, gone):
        finish(store, each)
    store._blobs.put(kept, b"unnamed")
    store._blobs.put("f" * 24, b"of nobody")
    assert store.claim(busy, 1, owner="w", lease_s=60) is not None
    store._blobs.put(busy, b"soon named")
    store._blobs.put("other people's", b"thesis")
    store.delete(gone)
    assert store.collect_garbage() == Collected(files=2, bytes=16)
    clock.now += UNDO_S
    assert store.collect_garbage() == Collected(files=1, bytes=2, experiments=1)
    assert store.read_artifact(kept, "result.json") == b"{}"
    assert sorted(each.folder for each in store._blobs.files()) == sorted([kept, busy])


def test_the_budget_holds_there_too(small: Store) -> None:
    experiment_id = small.submit(spec_of(), key="k")[0].id
    finish(small, experiment_id)
    small.put_artifact(experiment_id, "attention.0.safetensors", b"p" * 20_000)
    assert small.make_room() == Collected(files=1, bytes=20_000)
    assert [each.size for each in small._blobs.files()] == [2]
    assert small.store_report().free_bytes is None


def test_a_bucket_that_is_not_there_is_refused_at_the_start(urls: tuple[str, str]) -> None:
    with refused("bad_setting"):
        Store.open(urls[0], "s3://elsewhere/results")


def test_a_service_that_does_not_answer_is_a_refusal(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with refused("store_unavailable"):
        Blobs(bucket + "-elsewhere")


def test_a_service_that_is_lost_later_is_a_refusal_until_it_is_back(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with Store(store._database, Blobs("s3://lab/lost-later"), clock) as other:
        experiment_id = other.submit(spec_of(), key="k")[0].id
        finish(other, experiment_id)
        server.stop()
        looks: tuple[Callable[[], object], ...] = (
            lambda: other.read_artifact(experiment_id, "result.json"),
            lambda: other.open_artifact(experiment_id, "result.json"),
            lambda: other.put_artifact(experiment_id, "report.html", b"x"),
            other.collect_garbage,
        )
        for look in looks:
            with refused("store_unavailable"):
                look()
        with refused("not_retryable"):  # the lost result has not been noticed: the row is kept
            other.retry(experiment_id)
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        assert other.read_artifact(experiment_id, "result.json") == b"{}"
        server.stop()
