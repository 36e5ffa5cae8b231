"""A store in a folder of the test's own, and a real Valkey server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Store

sys.path.insert(0, str(Path(__file__).parent))

from keeping import Clock, Valkey, valkey_server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, str]:
    return f"sqlite:///{tmp_path / 'data' / 'arithmoscope.db'}", (tmp_path / "artifacts").as_uri()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as it is when it has just been made."""
    path = tmp_path_factory.mktemp("empty") / "arithmoscope.db"
    Store.open(f"sqlite:///{path}", "memory://").close()
    return path


@pytest.fixture
def store(urls: tuple[str, str], clock: Clock, empty_database: Path, tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "data").mkdir()
    shutil.copy(empty_database, tmp_path / "data")
    with Store.open(*urls, clock=clock) as store:
        yield store


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey_server(tmp_path_factory.mktemp("v")) as server:
        yield server
