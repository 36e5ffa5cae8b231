"""Fixtures: a store, a real broker, and workers as real process trees."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arithmoscope.store import EventLog, Store

for folder in ("worker", "store", "engine"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))

from job_helpers import CARD, Bench  # noqa: E402
from store_helpers import Valkey, valkey_server  # noqa: E402  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="session")
def broker_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("v")) as server:
        yield server


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A broker of the test's own, to be killed."""
    with valkey_server(tmp_path_factory.mktemp("v")) as server:
        yield server


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, str]:
    return f"sqlite:///{tmp_path / 'arithmoscope.db'}", (tmp_path / "artifacts").as_uri()


@pytest.fixture
def store(urls: tuple[str, str]) -> Iterator[Store]:
    with Store.open(*urls) as store:
        store.register_model(CARD, None)
        yield store


@pytest.fixture
def bench(store: Store, broker_of_all: Valkey) -> Iterator[Bench]:
    events = EventLog(broker_of_all.url)
    bench = Bench(store, events, broker_of_all.url)
    bench.heartbeat.start()
    yield bench
    bench.heartbeat.stop()
    events.close()
