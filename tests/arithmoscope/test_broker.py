"""Tests of the embedded broker: private, on disk, and restarted with an empty queue when it cannot read the old one."""

from __future__ import annotations

import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from arithmoscope.serve import broker


@contextmanager
def running(data_dir: Path) -> Iterator[tuple[redis.Redis, Path]]:
    with broker.socket_path(data_dir) as path:
        process = subprocess.Popen(broker.arguments(data_dir, path), stdout=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=str(path))
        try:
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.02)
            yield client, path
        finally:
            client.close()
            process.kill()
            process.wait(5)


def test_it_listens_on_a_private_socket_only_and_never_drops_a_key(tmp_path: Path) -> None:
    with running(tmp_path) as (client, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        config = client.config_get("*")
    assert config["port"] == "0"
    assert (config["appendonly"], config["appendfsync"], config["maxmemory-policy"]) == (
        "yes",
        "everysec",
        "noeviction",
    )


def test_its_data_survives_a_kill(tmp_path: Path) -> None:
    with running(tmp_path) as (client, _):
        client.set("a", "1")
        time.sleep(1.2)
    with running(tmp_path) as (client, _):
        assert client.get("a") == b"1"


def test_a_data_folder_with_a_long_path_gets_a_short_socket_that_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("er" * 40)
    folder.mkdir(parents=True)
    with running(folder) as (client, path):
        assert client.ping()
        assert len(bytes(path)) <= 100
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


@pytest.mark.parametrize("length", [100, 101])
def test_the_socket_stays_in_the_data_folder_as_long_as_its_path_fits(length: int) -> None:
    folder = Path("/" + "d" * (length - len("/redis.sock") - 1))
    with broker.socket_path(folder) as path:
        assert (path.parent == folder) == (length == 100)
        assert len(bytes(path)) <= 100


def test_a_queue_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    with running(tmp_path) as (client, _):
        client.set("a", "1")
    for file in (tmp_path / "queue").rglob("*.manifest"):
        file.write_text("rubbish\n")
    aside = broker.set_aside(tmp_path)
    assert aside is not None
    assert aside.is_dir()
    with running(tmp_path) as (client, _):
        assert client.get("a") is None
    assert broker.set_aside(tmp_path / "nowhere") is None
