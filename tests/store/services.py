"""Services of a larger installation as real servers for the tests: PostgreSQL and Debian's Redis.

Their addresses can be set (ARITHMOSCOPE_TEST_DATABASE_URL, ARITHMOSCOPE_TEST_REDIS_URL); otherwise the programs
installed on this machine are started in a temporary folder; without them, `make test` fails with a way out."""

from __future__ import annotations

import logging
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import boto3
import pytest
import redis
from moto.server import ThreadedMotoServer
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from benchmarks.patience import patience

DATABASE_URL = "ARITHMOSCOPE_TEST_DATABASE_URL"
REDIS_URL = "ARITHMOSCOPE_TEST_REDIS_URL"
REQUIRED = "ARITHMOSCOPE_TEST_SERVICES_REQUIRED"


class Postgres:
    """A server on which databases can be created; ``process`` is None for an external server."""

    def __init__(self, address: URL, process: subprocess.Popen[bytes] | None = None) -> None:
        self._address = address.set(drivername="postgresql+psycopg")
        self.process = process
        self._admin = create_engine(self._address, isolation_level="AUTOCOMMIT")
        self._made: list[str] = []

    def make(self, template: str = "template1") -> str:
        """The address of a new database."""
        name = f"arithmoscope_test_{secrets.token_hex(6)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._made.append(name)
        return self._address.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        name = make_url(url).database
        assert name is not None
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._made.remove(name)

    def close(self) -> None:
        for name in self._made:
            self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._admin.dispose()

    def ready(self) -> bool:
        try:
            self._execute("SELECT 1")
        except OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))


@contextmanager
def postgres_server() -> Iterator[Postgres | None]:
    """The server at the configured address, or one started here; None without either."""
    if environment := os.environ.get(DATABASE_URL):
        server = Postgres(make_url(environment))
        yield server
        server.close()
        return
    programs = _postgres_programs()
    if programs is None:
        yield None
        return
    # PostgreSQL refuses to run as root; Debian's package makes it a user of its own.
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="arithmoscope-pg-"))
    shutil.chown(folder, user)
    data = folder / "data"
    init = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([*init, "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, cwd=folder, user=user)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "shared_buffers": "32MB",
    }
    told_so = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *told_so], stdout=log, stderr=log, cwd=folder, user=user
        )
    address = URL.create("postgresql+psycopg", "postgres", database="postgres", query={"host": str(folder)})
    server = Postgres(address, process)
    try:
        _wait(server.ready, process, folder / "log")
        yield server
        server.close()
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def has_postgres() -> bool:
    """Whether `postgres_server` finds one."""
    return DATABASE_URL in os.environ or _postgres_programs() is not None


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """The address of Debian's Redis over TCP with a password: configured or started here, else None."""
    if address := os.environ.get(REDIS_URL):
        yield address
        return
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    password = secrets.token_hex(16)
    told_so = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", password, "--appendonly", "yes"]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([program, *told_so, "--dir", str(folder)], stdout=log, stderr=log)
    url = f"redis://:{password}@127.0.0.1:{port}/0"

    def ready() -> bool:
        with redis.Redis.from_url(url) as client, suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    try:
        _wait(ready, process, folder / "redis.log")
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def s3_server(bucket: str) -> Iterator[dict[str, str]]:
    """The environment variables of an S3-compatible store with one bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=address["AWS_ENDPOINT_URL"],
        aws_access_key_id=address["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=address["AWS_SECRET_ACCESS_KEY"],
        region_name=address["AWS_DEFAULT_REGION"],
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    try:
        yield address
    finally:
        server.stop()


def missing(what: str, variable: str) -> NoReturn:
    """Skips the test; where all services are required, as in `make test`, this is a failure."""
    words = f"{what} is not on this machine: apt-get install postgresql redis-server, or set {variable}"
    if REQUIRED in os.environ:
        pytest.fail(words, pytrace=False)
    pytest.skip(words)


def _postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL; Debian has it on no path."""
    if (initdb := shutil.which("initdb")) is not None and shutil.which("postgres") is not None:
        return Path(initdb).parent
    debians = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return debians[-1].parent if debians else None


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30 * patience()
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a server does not start: {log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.05)
