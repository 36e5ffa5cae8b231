"""Fixtures: a store in a temporary folder or on PostgreSQL, and a real Valkey server."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from arithmoscope.store import Store
from arithmoscope.store.blobs import Blobs

sys.path.insert(0, str(Path(__file__).parent))

from services import DATABASE_URL, Postgres, has_postgres, missing, postgres_server, s3_server
from store_helpers import Clock, Valkey, valkey_server


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Reports missing PostgreSQL in one line, not in hundreds."""
    if has_postgres():
        return
    on_it = [item for item in items if "[postgresql" in item.name and "database" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=on_it[1:])
    items[:] = [item for item in items if item not in on_it[1:]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Every test of the store holds on both."""
    return request.param


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres | None]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def empty_postgres(postgres: Postgres | None) -> str | None:
    """The name of a newly created database."""
    if postgres is None:
        return None
    url = postgres.make()
    Store.open(url, "memory://").close()
    return make_url(url).database


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "arithmoscope.db"
    Store.open(f"sqlite:///{path}", "memory://").close()
    return path


@pytest.fixture
def urls(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The addresses of a new store: empty, unless the test requests ``store`` too."""
    artifacts = (tmp_path / "artifacts").as_uri()
    is_open = "store" in request.fixturenames
    if database == "sqlite":
        path = tmp_path / "data" / "arithmoscope.db"
        if is_open:
            path.parent.mkdir()
            shutil.copy(request.getfixturevalue("empty_sqlite"), path)
        yield f"sqlite:///{path}", artifacts
        return
    server: Postgres | None = request.getfixturevalue("postgres")
    if server is None:
        missing("PostgreSQL", DATABASE_URL)
    url = server.make(request.getfixturevalue("empty_postgres")) if is_open else server.make()
    yield url, artifacts
    server.drop(url)


@pytest.fixture
def store(urls: tuple[str, str], clock: Clock) -> Iterator[Store]:
    with Store.open(*urls, clock=clock) as store:
        yield store


@pytest.fixture(scope="session")
def s3() -> Iterator[dict[str, str]]:
    """The environment of a program that keeps its artifacts in the bucket ``lab``."""
    with s3_server("lab") as environment:
        yield environment


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a private prefix in that bucket."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return f"s3://lab/{secrets.token_hex(4)}"


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of artifacts, of every kind."""
    match request.param:
        case "folder":
            return (tmp_path / "artifacts of a test").as_uri()
        case "memory":
            return f"memory://{secrets.token_hex(4)}"
        case _:
            return request.getfixturevalue("bucket")


@pytest.fixture
def blobs(place: str) -> Iterator[Blobs]:
    with closing(Blobs(place)) as blobs:
        yield blobs


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("v")) as server:
        yield server
